// The judgment being made of the pair on screen: what was answered so far, what is still missing, what will be sent.
// No element is touched here; drawing it is bar.js's, ratings.js's and ranking.js's business.

import { questions, scale } from "./campaign.js";

export class Draft {
  places = []; // response ids, best first, ties share a place; so far
  joining = false; // whether the next response shares the last place
  strength = null;
  bothBad = false;
  criteria = {}; // question -> response id -> value
  rationale = "";
  edited = {};
  flags = [];
  improving = false; // the better response is to be rewritten before this is sent
  at = 0; // the question that digits answer; the comparison comes after the last

  constructor(campaign, task, kept = {}) {
    this.campaign = campaign;
    this.ids = task.responses.map((response) => response.id);
    this.questions = questions(campaign, task);
    this.scale = scale(campaign, task);
    Object.assign(this, kept);
    this.at = this.#open(0);
  }

  /** What is worth keeping over a reload, and when a judgment is taken back: everything but the comparison itself. */
  get kept() {
    const { criteria, rationale, edited, flags } = this;
    return structuredClone({ criteria, rationale, edited, flags });
  }

  get question() {
    return this.questions[this.at] ?? null;
  }

  get compared() {
    return this.placed.length === this.ids.length;
  }

  get placed() {
    return this.places.flat();
  }

  /** The response that is better than all others, or null. */
  get best() {
    return this.compared && this.places.length > 1 && this.places[0].length === 1 ? this.places[0][0] : null;
  }

  get graded() {
    return this.campaign.grades > 0 && this.scale.length > 0;
  }

  // --- questions about single responses ------------------------------------------------------------------------------

  answerOf(question) {
    return this.criteria[question.name]?.[question.id];
  }

  /** Answer a question, for its response or for all of them; digits go on with the next one that is open. */
  answer(question, value, all = false) {
    for (const id of all ? this.ids : [question.id]) (this.criteria[question.name] ??= {})[id] = value;
    this.at = this.#open(this.questions.indexOf(question));
  }

  /** Let digits answer the next question, or the one before; the comparison follows the last. */
  step(by) {
    const stops = this.questions.length + 1;
    this.at = (this.at + by + stops) % stops;
  }

  #open(from) {
    const order = [...this.questions.keys()].map((index) => (index + from) % this.questions.length);
    return order.find((index) => this.answerOf(this.questions[index]) === undefined) ?? this.questions.length;
  }

  // --- the comparison ------------------------------------------------------------------------------------------------

  /** Take a point of the scale. */
  take(point) {
    const [first, second] = this.ids;
    this.places = point.better === null ? [[first, second]] : point.better ? [[second], [first]] : [[first], [second]];
    this.strength = point.grade;
    this.bothBad = false;
  }

  /** All are equally good, or equally bad. */
  level(bothBad) {
    this.places = [[...this.ids]];
    this.strength = this.graded ? 0 : null;
    this.bothBad = bothBad;
  }

  /** The next in the ranking, in a place of its own or sharing the last; the last one left falls into place by itself. */
  place(id) {
    if (this.placed.includes(id)) return;
    this.#put(id, this.places.length, this.joining && this.places.length > 0);
    const left = this.ids.filter((other) => !this.placed.includes(other));
    if (left.length === 1 && !this.campaign.ties) this.#put(left[0], this.places.length, false);
  }

  /** Move a response to place `at`: before the one that is there, or into it. */
  move(id, at, join) {
    const target = this.places[at];
    this.takeOut(id);
    const now = this.places.indexOf(target);
    this.#put(id, now >= 0 ? now : at, join && now >= 0);
  }

  /** One place up or down the ranking: first into the neighbour's place, then past it. */
  shift(id, by) {
    const at = this.places.findIndex((place) => place.includes(id));
    const shared = this.places[at].length > 1;
    const next = this.places[at + by];
    if (shared || !this.campaign.ties) {
      this.takeOut(id);
      this.#put(id, shared ? (by > 0 ? at + 1 : at) : Math.max(0, at + by), false);
    } else if (next) {
      this.takeOut(id);
      this.#put(id, this.places.indexOf(next), true);
    }
  }

  takeOut(id) {
    for (const place of this.places) if (place.includes(id)) place.splice(place.indexOf(id), 1);
    this.places = this.places.filter((place) => place.length);
    this.joining = this.bothBad = false;
  }

  #put(id, at, join) {
    if (join) this.places[Math.min(at, this.places.length - 1)].push(id);
    else this.places.splice(at, 0, [id]);
    this.joining = this.bothBad = false;
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  /** What is still wanted before this can be sent: "comparison", a question, "rationale", "edit", or null. */
  get missing() {
    if (!this.compared) return "comparison";
    const open = this.questions.find((question) => this.answerOf(question) === undefined);
    if (open) return open;
    if (this.campaign.rationale === "demanded" && !this.rationale.trim()) return "rationale";
    return this.improving && this.best ? "edit" : null;
  }

  /** The body for POST /api/labels, without uuid, slot and time; what was not asked and not said stays out. */
  get body() {
    const body = { ranking: this.places, both_bad: this.bothBad };
    if (this.strength !== null) body.strength = this.strength;
    if (Object.keys(this.criteria).length) body.criteria = this.criteria;
    if (this.rationale.trim()) body.rationale = this.rationale.trim();
    if (this.best in this.edited) body.edited = { [this.best]: this.edited[this.best] };
    if (this.flags.length) body.flags = this.flags;
    if (this.campaign.told && this.campaign.guideline) body.guideline = this.campaign.guideline.id;
    return structuredClone(body);
  }
}
