// The bar at the foot: the comparison as buttons with their keys, and what else can be done with the pair.

import { chip, make } from "./make.js";
import { Ranking } from "./ranking.js";
import { t } from "./strings.js";

const ASIDE = ["bad", "flag", "reason", "edit", "skip", "undo"];

export class Bar {
  constructor(root, keys, { arranged }) {
    this.keys = keys;
    this.judge = root.querySelector(".tl-judge");
    this.aside = root.querySelector(".tl-aside");
    this.ranking = new Ranking(make("div.tl-strip", { role: "group" }), arranged);
  }

  /** Draw what can be said about this pair. */
  show(draft) {
    this.draft = draft;
    const many = draft.scale.length === 0;
    this.judge.dataset.kind = many ? "ranking" : draft.graded ? "grades" : "sides";
    this.ranking.strip.setAttribute("aria-label", t("rank.label"));
    this.judge.replaceChildren(
      ...(many ? this.#ranking() : draft.scale.map((point, index) => this.#point(point, index))),
      this.#button("send", t("send")),
    );
    if (draft.graded) {
      this.judge.prepend(make("span.tl-side", {}, t("side.first")));
      this.judge.querySelector("[data-act=send]").before(make("span.tl-side", {}, t("side.second")));
    }
    const offered = { bad: draft.campaign.both_bad, reason: draft.campaign.rationale !== "off", edit: draft.campaign.edit };
    const name = (act) => t(act === "bad" && many ? "bad.all" : act);
    this.aside.replaceChildren(...ASIDE.filter((act) => offered[act] ?? true).map((act) => this.#button(act, name(act))));
    this.refresh();
  }

  /** Show what was said so far. */
  refresh() {
    const { draft } = this;
    for (const button of this.judge.querySelectorAll("[data-point]")) {
      const point = draft.scale[button.dataset.point];
      const better = point.better === null ? draft.places.length === 1 : draft.places[0]?.[0] === draft.ids[point.better];
      const said = draft.compared && !draft.bothBad && better && (point.better === null) === (draft.places.length === 1);
      button.setAttribute("aria-pressed", said && point.grade === draft.strength);
    }
    if (!draft.scale.length) this.ranking.show(draft);
    this.judge.dataset.asked = draft.question === null;
    this.judge.querySelector("[data-act=send]").hidden = !draft.compared;
    this.#mark("bad", draft.bothBad);
    this.#mark("flag", draft.flags.length > 0);
    this.#mark("reason", Boolean(draft.rationale.trim()));
    this.#mark("edit", draft.improving || Object.keys(draft.edited).length > 0);
  }

  /** Offer these acts alone, or all with null. */
  only(acts) {
    this.judge.hidden = acts !== null;
    for (const button of this.aside.children) button.hidden = acts !== null && !acts.includes(button.dataset.act);
  }

  /** Whether there is something to take back. */
  undoable(yes) {
    const undo = this.aside.querySelector("[data-act=undo]");
    if (undo) undo.disabled = !yes;
  }

  /** The act whose key gives a point of the scale. */
  actOf(point, index) {
    if (this.draft.graded) return `pick${index + 1}`;
    return point.better === null ? "tie" : `pick${point.better + 1}`;
  }

  #point(point, index) {
    const act = this.actOf(point, index);
    const button = make("button", { data: { point: index }, "aria-pressed": "false", "aria-label": point.said }, chip(this.keys.chip(act)), make("span", {}, point.text));
    return this.#keysOf(button, [act]);
  }

  #ranking() {
    const tie = this.draft.campaign.ties ? [this.#button("join", t("join")), this.#button("tie", t("tie.all"))] : [];
    return [this.ranking.strip, ...tie];
  }

  #button(act, text) {
    return this.#keysOf(make("button", { data: { act } }, chip(this.keys.chip(act)), make("span", {}, text)), [act]);
  }

  #keysOf(button, acts) {
    const keys = acts.flatMap((act) => this.keys.of(act));
    if (keys.length) button.setAttribute("aria-keyshortcuts", keys.join(" "));
    return button;
  }

  #mark(act, on) {
    this.aside.querySelector(`[data-act=${act}]`)?.setAttribute("aria-pressed", on);
  }
}
