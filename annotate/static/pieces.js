// What the labelling screen is made of: elements for turns and responses, sentences about its states.
// Everything from outside becomes text, never markup. When what is shown is label.js's business.

import { chip, make } from "./make.js";
import { here } from "./outbox.js";
import { t } from "./strings.js";

const ROLES = ["system", "user", "assistant", "tool"];

export function turn({ role, content }) {
  const folded = role === "system";
  const box = make(folded ? "details.tl-turn" : "div.tl-turn", { data: { role } });
  const parts = typeof content === "string" ? [{ type: "text", text: content }] : content;
  box.append(make(folded ? "summary.tl-label" : "span.tl-label", {}, ROLES.includes(role) ? t(`role.${role}`) : role), ...parts.map(part));
  return box;
}

function part(part) {
  if (part.type === "text") return words(part.text);
  const hash = /^media:([0-9a-f]{64})$/.exec(part.image ?? "")?.[1];
  if (part.type !== "image" || !hash) return make("p.tl-small", {}, t("part.unknown", { type: part.type }));
  return make("img.tl-image", { src: here(`/api/media/${hash}`), alt: part.alt || t("part.image") });
}

/** A text exactly as it was written; reading.js may show it in other ways. */
function words(text) {
  return make("div.tl-text", { dir: "auto" }, text);
}

export function card({ text }, index, many, keys) {
  const n = index + 1;
  const title = make("h2", { id: `tl-response-${n}` }, t("response", { n }));
  const head = make("div.tl-card-head", {}, title);
  if (many) {
    const pick = make("button", { data: { pick: index }, "aria-label": t("rank.next.long", { n }) }, chip(keys.chip(`pick${n}`)), make("span", {}, t("rank.next")));
    head.append(make("span.tl-rank"), pick);
  }
  const body = make("div.tl-body", { role: "group", "aria-labelledby": title.id, tabIndex: 0 }, words(text));
  return make("article.tl-card", { "aria-labelledby": title.id }, head, body, make("div.tl-questions"));
}

const REASONS = { "most-per-day": "limit", "most-per-annotator": "share", qualification: "practice" };

/** Title and text for a page that has nothing to show; the server says the `reason` where a rule is one. */
export function rest(round, { today = {}, qualification = {} } = {}, reason, offline) {
  const open = (round?.need ?? 0) - (round?.have ?? 0);
  const counts = !round?.need ? "empty" : open <= 0 ? "complete" : "none";
  const kind = offline ? "offline" : (REASONS[reason] ?? counts);
  const { right, needed } = qualification;
  const values = { round: round?.round, need: round?.need, n: open, most: today.most, right, needed };
  return [t(`rest.${kind}`, values), t(`rest.${kind}.text`, values)];
}
