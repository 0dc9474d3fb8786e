// The dialogs of keys and settings: what each key does now, changed in place; theme, language, topics to be spared.

import { shown, TABLE } from "./keys.js";
import { make } from "./make.js";
import { LOCALES, t } from "./strings.js";

const THEMES = ["system", "light", "dark"];

/** The list of keys, written from the table; a click on one waits for the key it is to be. */
export class KeyList {
  waiting = null;

  /** `applies(act)` says whether an act exists here, `named(act)` what it does; `changed()` redraws the chips. */
  constructor(dialog, keys, { applies, named, changed }) {
    Object.assign(this, { dialog, keys, applies, named, changed });
    dialog.addEventListener("click", (event) => this.#click(event));
    dialog.addEventListener("close", () => (this.waiting = null));
    dialog.querySelector("input").addEventListener("change", async (event) => {
      await keys.profile.set({ shortcuts: event.target.checked });
      this.#again();
    });
  }

  open() {
    this.draw();
    this.dialog.showModal();
  }

  draw() {
    this.dialog.querySelector("input").checked = this.keys.profile.settings.shortcuts;
    const rows = Object.keys(TABLE).filter(this.applies).map((act) => {
      const names = this.keys.of(act).map((key) => make("kbd", {}, shown(key)));
      const text = this.waiting === act ? [t("keys.press")] : names.length ? names : [t("keys.none")];
      const change = make("button", { data: { change: act }, "aria-label": t("keys.change", { what: this.named(act) }) }, ...text);
      return make("li", {}, make("span", {}, this.named(act)), change);
    });
    this.dialog.querySelector("ul").replaceChildren(...rows);
    if (this.waiting) this.dialog.querySelector(`[data-change=${this.waiting}]`).focus();
  }

  /** A press while the list is open: the key an act was waiting for; whether it was one. */
  key(name) {
    if (!this.waiting || ["Escape", "Tab", "Shift"].includes(name)) return false;
    const act = this.waiting;
    this.waiting = null;
    this.keys.set(act, name);
    this.#again();
    this.dialog.querySelector(`[data-change=${act}]`).focus();
    return true;
  }

  #click(event) {
    const { change, act } = event.target.closest("button")?.dataset ?? {};
    if (act === "reset") this.keys.reset();
    if (change) this.waiting = change;
    if (change || act === "reset") this.#again();
  }

  #again() {
    this.draw();
    this.changed();
  }
}

export class Settings {
  /** `spoke(locale)` is asked to change the language of the page. */
  constructor(dialog, profile, spoke) {
    Object.assign(this, { dialog, profile, spoke });
    dialog.addEventListener("change", (event) => this.#set(event.target));
  }

  open() {
    this.draw();
    this.dialog.showModal();
  }

  draw() {
    const { theme, locale } = this.profile.settings;
    const [themes, locales] = this.dialog.querySelectorAll("select");
    const option = (value, text, chosen) => make("option", { value, selected: value === chosen }, text);
    themes.replaceChildren(...THEMES.map((each) => option(each, t(`theme.${each}`), theme)));
    const spoken = Object.entries({ "": t("locale.browser"), ...LOCALES });
    locales.replaceChildren(...spoken.map(([each, name]) => option(each, name, locale)));
    const topics = [...new Set([...this.profile.topics, ...this.profile.optedOut])].sort();
    this.dialog.querySelector(".tl-topics").hidden = !topics.length;
    this.dialog.querySelector("ul").replaceChildren(...topics.map((topic) => this.#topic(topic)));
  }

  #topic(topic) {
    const box = make("input", { type: "checkbox", value: topic, checked: this.profile.optedOut.includes(topic) });
    return make("li", {}, make("label.tl-check", {}, box, make("span", { dir: "auto" }, topic)));
  }

  async #set({ name, type, value, checked }) {
    if (type === "checkbox") {
      const others = this.profile.optedOut.filter((topic) => topic !== value);
      return this.profile.optOut(checked ? [...others, value] : others);
    }
    this.profile.set({ [name]: value });
    if (name !== "locale") return;
    await this.spoke(value);
    this.draw();
  }
}
