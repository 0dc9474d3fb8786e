// The place to write: the reason for a judgment, or a better version of the better response. Beside the work, not over it.

import { t } from "./strings.js";

export class Note {
  /** `wrote(text)` hears every change; `done(sent)` that the writer is back, by Ctrl+Enter or by Escape. */
  constructor(element) {
    this.element = element;
    this.area = element.querySelector("textarea");
    this.area.addEventListener("input", () => this.on.wrote(this.area.value));
    this.area.addEventListener("keydown", (event) => this.#key(event));
  }

  get open() {
    return !this.element.hidden;
  }

  write(kind, value, most, on) {
    this.on = on;
    this.element.dataset.kind = kind;
    this.element.querySelector("label").textContent = t(`note.${kind}`);
    this.area.value = value;
    this.area.maxLength = most;
    this.element.hidden = false;
    this.area.focus();
  }

  close(sent = false) {
    if (!this.open) return;
    this.element.hidden = true;
    this.on.done(sent);
  }

  hide() {
    this.element.hidden = true;
  }

  #key(event) {
    const sent = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (event.isComposing || !(sent || event.key === "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    this.close(sent);
  }
}
