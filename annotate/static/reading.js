// How prompt and responses are read: verbatim or rendered, scrolled together, differences marked while a key asks.

import { compare } from "./diff.js";
import { card, turn } from "./pieces.js";
import { render } from "./render.js";
import { t } from "./strings.js";

const TAP_MS = 350; // a key held for longer marks only while it is held

export class Reading {
  marking = false;

  constructor(root, profile) {
    this.profile = profile;
    this.root = root;
    this.prompt = root.querySelector(".tl-prompt");
    this.responses = root.querySelector(".tl-responses");
    this.more = root.querySelector(".tl-more");
    this.responses.addEventListener("scroll", (event) => this.#scrolled(event.target), { capture: true, passive: true });
  }

  get cards() {
    return [...this.responses.children];
  }

  /** Put a pair's texts on screen. */
  show(task, keys) {
    this.task = task;
    this.marking = false;
    const many = task.responses.length > 2;
    this.prompt.replaceChildren(...task.prompt.map(turn));
    this.responses.dataset.many = many;
    this.responses.replaceChildren(...task.responses.map((response, index) => card(response, index, many, keys)));
    this.originals = new Map([...this.root.querySelectorAll(".tl-pair .tl-text")].map((each) => [each, each.textContent]));
    if (this.rendered) this.#view();
    this.tools();
  }

  /** Show on the cards which place each has so far, or which of two is better. */
  places({ ids, places, best, scale }) {
    this.cards.forEach((shown, index) => {
      const at = places.findIndex((place) => place.includes(ids[index]));
      const many = scale.length === 0;
      shown.dataset.chosen = many ? at >= 0 : ids[index] === best;
      if (!many) return;
      shown.querySelector(".tl-rank").textContent = at >= 0 ? t("rank.place", { n: at + 1 }) : "";
      shown.querySelector("[data-pick]").hidden = at >= 0;
    });
  }

  get rendered() {
    return this.profile.settings.view === "rendered";
  }

  /** Say on the buttons what is on. */
  tools() {
    const on = { view: this.rendered, diff: this.marking, link: this.profile.settings.linked };
    for (const [act, pressed] of Object.entries(on)) {
      this.root.querySelector(`.tl-tools [data-act=${act}]`).setAttribute("aria-pressed", pressed);
    }
  }

  /** Verbatim or rendered, from now on. */
  toggleView() {
    this.profile.set({ view: this.rendered ? "verbatim" : "rendered" });
    this.marking = false;
    this.#view();
    this.tools();
  }

  #view() {
    for (const [element, text] of this.originals) {
      element.dataset.rendered = this.rendered;
      element.replaceChildren(this.rendered ? render(text) : text);
    }
  }

  // --- differences -----------------------------------------------------------------------------------------------

  /** The key went down, or the button was clicked: mark the differences, or take the marks off. */
  ask(key) {
    this.mark(!this.marking);
    if (!key || !this.marking) return;
    const asked = performance.now();
    const release = (event) => {
      if (event.type === "keyup" && event.key.toLowerCase() !== key.toLowerCase()) return;
      removeEventListener("keyup", release);
      if (performance.now() - asked > TAP_MS) this.mark(false);
    };
    addEventListener("keyup", release);
  }

  mark(on) {
    this.marking = on;
    const texts = this.cards.map((each) => each.querySelector(".tl-text"));
    if (on) {
      const words = this.task.responses.map((response) => response.text);
      texts.forEach((element, index) => {
        const pieces = compare(words[index], words[index === 0 ? 1 : 0])[0];
        element.dataset.rendered = false;
        element.replaceChildren(...pieces.map(({ text, own }) => (own && text.trim() ? marked(text) : text)));
      });
    } else this.#view();
    this.tools();
  }

  // --- scrolling -------------------------------------------------------------------------------------------------

  toggleLink() {
    this.profile.set({ linked: !this.profile.settings.linked });
    this.tools();
  }

  /** Scroll the responses by keys: a page, or a few lines; whether there was anything to scroll. */
  scroll(key) {
    const by = { " ": 0.8, PageDown: 0.8, PageUp: -0.8, ArrowDown: 60, ArrowUp: -60 }[key] ?? 0.8;
    const long = this.#long;
    const tallest = long.toSorted((a, b) => b.scrollHeight - a.scrollHeight);
    for (const body of this.profile.settings.linked ? tallest.slice(0, 1) : long) {
      body.scrollBy({ top: Math.abs(by) < 1 ? by * body.clientHeight : by, behavior: "instant" });
    }
    return long.length > 0;
  }

  get #long() {
    return this.cards.map((each) => each.querySelector(".tl-body")).filter((body) => body.scrollHeight > body.clientHeight + 1);
  }

  /** One response was scrolled: take the others along, each by its own length. */
  #scrolled(body) {
    if (!this.profile.settings.linked || !body.classList.contains("tl-body")) return;
    if (this.led === body) {
      this.led = null;
      return;
    }
    const share = body.scrollTop / Math.max(1, body.scrollHeight - body.clientHeight);
    for (const each of this.cards) {
      const other = each.querySelector(".tl-body");
      const top = Math.round(share * (other.scrollHeight - other.clientHeight));
      if (other === body || Math.abs(other.scrollTop - top) < 2) continue;
      this.led = other;
      other.scrollTop = top;
    }
  }

  // --- a long prompt ---------------------------------------------------------------------------------------------

  /** Show the whole of a long prompt, or its last part when it is a conversation, else its first. */
  unfold(open) {
    const { prompt, more } = this;
    prompt.dataset.open = open;
    more.hidden = !open && prompt.scrollHeight <= prompt.clientHeight + 1;
    more.setAttribute("aria-expanded", open);
    more.firstElementChild.textContent = t(open ? "prompt.fold" : "prompt.unfold");
    this.root.querySelector(".tl-tools [data-act=link]").hidden = this.#long.length === 0;
    prompt.scrollTop = !open && this.task.prompt.length > 2 ? prompt.scrollHeight : 0;
  }

  fold() {
    this.unfold(this.prompt.dataset.open !== "true");
  }
}

function marked(text) {
  const mark = document.createElement("mark");
  mark.textContent = text;
  return mark;
}
