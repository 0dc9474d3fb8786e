// What this campaign asks of a pair: its questions one by one, and the scale of the comparison.
// Which answers were given is draft.js's business; the server checks all of it again.

import { call, Refused } from "./outbox.js";
import { t } from "./strings.js";

const PLAIN = {
  preset: "none",
  objective: "helpful",
  grades: 0,
  ties: true,
  both_bad: true,
  criteria: [],
  acceptable: false,
  safety_bins: false,
  edit: false,
  rationale: "optional",
  break_after_minutes: 0,
  guideline: null,
};

/** The campaign in force; the plain comparison where the server knows no campaigns. */
export async function loadCampaign() {
  try {
    return { ...PLAIN, ...(await call("GET", "/api/campaign")), told: true };
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return PLAIN;
    throw error;
  }
}

/** The questions about single responses, in the order they are asked: criterion by criterion, response by response. */
export function questions(campaign, task) {
  const asked = campaign.criteria.map((criterion) => {
    const most = criterion.most ?? 5;
    const answers = Array.from({ length: most }, (_, index) => ({ value: index + 1, text: String(index + 1) }));
    return { name: criterion.name, text: criterion.question || criterion.name, low: criterion.low, high: criterion.high, answers };
  });
  if (campaign.acceptable) asked.push({ name: "acceptable", text: t("ask.acceptable"), answers: [true, false].map(acceptable) });
  if (campaign.safety_bins) {
    asked.push({ name: "safety", text: t("ask.safety"), answers: ["safe", "borderline", "unsafe"].map(safety) });
  }
  return asked.flatMap((question) => task.responses.map(({ id }, index) => ({ ...question, id, index })));
}

function acceptable(value) {
  return { value, text: t(`acceptable.${value}`) };
}

function safety(value) {
  return { value, text: t(`safety.${value}`) };
}

/** The points of the scale between two responses, from "first is much better" on; [] when more are to be ranked. */
export function scale(campaign, task) {
  if (task.responses.length !== 2) return [];
  const grades = campaign.grades ? Array.from({ length: campaign.grades }, (_, index) => index + 1) : [null];
  const side = (better, grade) => ({ better, grade, text: short(campaign, better, grade), said: long(campaign, better, grade) });
  const tie = { better: null, grade: campaign.grades ? 0 : null, text: t("tie"), said: t("said.tie") };
  return [
    ...grades.toReversed().map((grade) => side(0, grade)),
    ...(campaign.ties ? [tie] : []),
    ...grades.map((grade) => side(1, grade)),
  ];
}

function degree(campaign, grade) {
  return grade === campaign.grades ? "much" : grade === 1 ? "slightly" : "clearly";
}

function short(campaign, better, grade) {
  if (campaign.grades < 2) return t(better ? "second" : "first");
  return t(`grade.${degree(campaign, grade)}`);
}

function long(campaign, better, grade) {
  const side = better ? "second" : "first";
  return campaign.grades < 2 ? t(`said.${side}`) : t(`said.${side}.${degree(campaign, grade)}`);
}

/** What a judgment said, in a few words: "first is better", "2 > 1 = 3". */
export function saying(campaign, task, { ranking, strength, both_bad: bothBad }) {
  if (bothBad) return t("said.bad");
  if (ranking.length === 1) return t("said.tie");
  const number = (id) => task.responses.findIndex((response) => response.id === id) + 1;
  if (task.responses.length > 2) return ranking.map((place) => place.map(number).join(" = ")).join(" > ");
  return long(strength ? campaign : { grades: 0 }, number(ranking[0][0]) - 1, Math.abs(strength ?? 0));
}
