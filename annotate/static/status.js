// What the page says about itself: saved or not, how far the round is, notices, and why there is nothing to judge.

import { rest } from "./pieces.js";
import { t } from "./strings.js";

export class Status {
  latest = null; // the counts the server told last

  constructor(root) {
    this.at = (name) => root.querySelector(`.tl-${name}`);
  }

  say(text) {
    this.at("last").textContent = text;
  }

  saved(outbox) {
    const n = outbox.size;
    const at = this.at("saved");
    at.textContent = outbox.offline ? t(n ? "saved.waiting" : "saved.offline", { n }) : t(n ? "saved.saving" : "saved");
    at.dataset.tone = outbox.offline ? "bad" : n ? "busy" : "good";
  }

  progress(progress) {
    this.latest = progress;
    this.count(0);
  }

  count(more) {
    const { mine, round } = this.latest ?? {};
    if (!round) return;
    mine.in_round += more;
    round.have += more;
    const done = Math.min(round.have, round.need);
    this.at("count").textContent = t("count", { round: round.round, done, need: round.need, mine: mine.in_round });
    const bar = this.at("progress");
    bar.setAttribute("aria-valuemax", round.need);
    bar.setAttribute("aria-valuenow", done);
    bar.firstElementChild.style.width = `${round.need ? (100 * done) / round.need : 0}%`;
  }

  rest(campaign, reason, offline, seconds) {
    const [title, text] = rest(this.latest?.round, campaign, reason, offline);
    const at = this.at("rest");
    at.querySelector("h2").textContent = title;
    at.querySelector("p").textContent = text;
    at.querySelector(".tl-small").textContent = t("rest.again", { n: seconds });
  }

  notice(text, signIn = false) {
    const at = this.at("notice");
    at.querySelector("span").textContent = text;
    at.querySelector("a").hidden = !signIn;
    at.hidden = false;
  }

  signedOut(waiting) {
    this.notice([t("signedout"), waiting ? t("kept", { n: waiting }) : ""].join(" ").trim(), true);
  }

  /** After a practice pair: whether it was judged as expected, what was expected, and why. */
  feedback({ right, ranking, explanation }, task) {
    const at = this.at("feedback");
    const number = (id) => task.responses.findIndex((response) => response.id === id) + 1;
    at.dataset.right = right;
    at.querySelector("strong").textContent = t(right ? "feedback.right" : "feedback.wrong");
    at.querySelector("span").textContent = t("feedback.expected", { ranking: ranking.map((place) => place.map(number).join(" = ")).join(" > ") });
    at.querySelector(".tl-text").textContent = explanation;
    at.querySelector("button").focus();
  }
}
