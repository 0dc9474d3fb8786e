// The menu of flags: what is wrong with the pair, or with one response. A flag says nothing about which is better.

import { chip, make } from "./make.js";
import { t } from "./strings.js";

export const FLAGS = ["unsafe", "personal-data", "nonsense", "named-itself"];

export class Flags {
  column = 0; // 0 is the pair, then the responses

  constructor(dialog, changed) {
    this.dialog = dialog;
    this.changed = changed;
    dialog.addEventListener("change", (event) => this.#set(event.target.value, event.target.checked));
  }

  open(draft) {
    this.draft = draft;
    this.column = 0;
    const columns = ["", ...draft.ids.map((id) => `@${id}`)];
    const names = [t("flag.pair"), ...draft.ids.map((_, index) => t("response", { n: index + 1 }))];
    const head = make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col" }, name)));
    const rows = FLAGS.map((flag, index) => {
      const boxes = columns.map((suffix, column) => {
        const value = flag + suffix;
        const label = `${t(`flag.${flag}`)}: ${names[column]}`;
        return make("td", {}, make("input", { type: "checkbox", value, checked: draft.flags.includes(value), "aria-label": label }));
      });
      return make("tr", {}, make("th", { scope: "row" }, chip(String(index + 1)), " ", t(`flag.${flag}`)), ...boxes);
    });
    this.dialog.querySelector("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
    this.#mark();
    this.dialog.showModal();
  }

  /** A digit sets or takes a flag, the arrows choose for what; whether the key was one of these. */
  key(name) {
    const columns = this.draft.ids.length + 1;
    const forward = document.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    if (name === "ArrowLeft" || name === "ArrowRight") {
      this.column = (this.column + (name === forward ? 1 : columns - 1)) % columns;
      this.#mark();
      return true;
    }
    const row = this.dialog.querySelectorAll("tbody tr")[Number(name) - 1];
    row?.querySelectorAll("input")[this.column].click();
    return Boolean(row);
  }

  #set(flag, on) {
    this.draft.flags = this.draft.flags.filter((each) => each !== flag);
    if (on) this.draft.flags.push(flag);
    this.changed();
  }

  #mark() {
    for (const row of this.dialog.querySelectorAll("tr")) {
      [...row.cells].forEach((cell, index) => (cell.dataset.now = index === this.column + 1));
    }
  }
}
