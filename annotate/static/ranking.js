// The ranking of more than two responses: a strip of places, best first, to be filled by keys, buttons or dragging.
// What a move does to the ranking is draft.js's business.

import { make } from "./make.js";
import { t } from "./strings.js";

export class Ranking {
  /** `changed` hears of moves by pointer and arrow; those by digit come through label.js. */
  constructor(strip, changed) {
    this.strip = strip;
    this.changed = changed;
    strip.addEventListener("pointerdown", (event) => this.#grab(event));
    strip.addEventListener("keydown", (event) => this.#arrow(event));
    strip.addEventListener("click", (event) => this.#click(event));
  }

  show(draft) {
    this.draft = draft;
    const focused = this.strip.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const left = draft.ids.filter((id) => !draft.placed.includes(id));
    const places = draft.places.flatMap((place, at) => [
      make("span.tl-gap", { data: { insert: at } }),
      make("span.tl-place", { data: { join: at }, role: "group", "aria-label": t("rank.place", { n: at + 1 }) }, ...place.map((id) => this.#token(id))),
    ]);
    this.strip.replaceChildren(
      make("span.tl-left", { hidden: !left.length, data: { out: "" } }, ...left.map((id) => this.#token(id))),
      make("span.tl-end", {}, t("rank.best")),
      make("span.tl-places", { data: { joining: draft.joining } }, ...places, make("span.tl-gap.tl-last-gap", { data: { insert: draft.places.length } })),
      make("span.tl-end", {}, t("rank.worst")),
    );
    if (focused) this.strip.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  #token(id) {
    const n = this.draft.ids.indexOf(id) + 1;
    return make("button.tl-token", { data: { id }, "aria-label": t("rank.token", { n }), title: t("rank.how") }, String(n));
  }

  /** A token that is not placed yet comes next; one that is placed goes out again. */
  #click(event) {
    const token = event.target.closest(".tl-token");
    if (!token || this.dragged) return;
    if (this.draft.placed.includes(token.dataset.id)) this.draft.takeOut(token.dataset.id);
    else this.draft.place(token.dataset.id);
    this.changed();
  }

  #arrow(event) {
    const id = event.target.closest(".tl-token")?.dataset.id;
    if (!id || !["ArrowLeft", "ArrowRight"].includes(event.key) || !this.draft.placed.includes(id)) return;
    event.preventDefault();
    event.stopPropagation();
    const forward = document.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    this.draft.shift(id, event.key === forward ? 1 : -1);
    this.changed();
  }

  #grab(event) {
    const token = event.target.closest(".tl-token");
    if (!token || event.button) return;
    const from = { x: event.clientX, y: event.clientY };
    this.dragged = false;
    token.setPointerCapture(event.pointerId); // now, not with the first move: a quick hand has left the token by then
    const move = (moved) => {
      const [x, y] = [moved.clientX - from.x, moved.clientY - from.y];
      if (!this.dragged && Math.hypot(x, y) < 5) return;
      this.dragged = true;
      this.strip.dataset.dragging = true;
      token.style.transform = `translate(${x}px, ${y}px)`;
      this.#mark(this.#under(moved, token));
    };
    const drop = (dropped) => {
      for (const [name, heard] of Object.entries(listeners)) token.removeEventListener(name, heard);
      token.style.transform = "";
      delete this.strip.dataset.dragging;
      this.#mark(null);
      if (!this.dragged) return;
      setTimeout(() => (this.dragged = false)); // the click that follows a drag is no click
      if (dropped.type === "pointerup") this.#drop(token.dataset.id, this.#under(dropped, token));
    };
    const listeners = { pointermove: move, pointerup: drop, pointercancel: drop };
    for (const [name, heard] of Object.entries(listeners)) token.addEventListener(name, heard);
  }

  #under({ clientX, clientY }, token) {
    token.style.pointerEvents = "none";
    const found = document.elementFromPoint(clientX, clientY)?.closest?.("[data-insert], [data-join], [data-out]");
    token.style.pointerEvents = "";
    return found && this.strip.contains(found) ? found : null;
  }

  #mark(target) {
    for (const each of this.strip.querySelectorAll("[data-over]")) delete each.dataset.over;
    if (target) target.dataset.over = "";
  }

  #drop(id, target) {
    if (!target) return;
    if ("out" in target.dataset) this.draft.takeOut(id);
    else if ("insert" in target.dataset) this.draft.move(id, Number(target.dataset.insert), false);
    else this.draft.move(id, Number(target.dataset.join), this.draft.campaign.ties);
    this.changed();
  }
}
