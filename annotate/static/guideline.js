// The guideline beside the work: a panel that folds away, and says when there is a new version.

import { render } from "./render.js";
import { t } from "./strings.js";

export class Guideline {
  constructor(root, profile) {
    this.profile = profile;
    this.root = root;
    this.panel = root.querySelector(".tl-guideline");
    this.button = root.querySelector(".tl-head [data-act=guideline]");
  }

  /** Take the campaign's guideline; one that this person has not seen opens by itself. */
  take(guideline) {
    this.text = guideline;
    this.button.hidden = !guideline;
    if (!guideline) return this.open(false);
    const seen = this.profile.settings.guideline;
    this.fresh = seen !== guideline.id;
    this.panel.querySelector(".tl-version").textContent = t(seen && this.fresh ? "guideline.new" : "guideline.version", { n: guideline.version });
    this.panel.querySelector(".tl-version").dataset.new = Boolean(seen && this.fresh);
    this.panel.querySelector(".tl-guide").replaceChildren(render(guideline.text));
    if (this.fresh) this.open(true);
  }

  toggle() {
    if (this.text) this.open(this.panel.hidden);
  }

  open(yes) {
    this.panel.hidden = !yes;
    this.root.dataset.beside = yes;
    this.button.setAttribute("aria-expanded", yes);
    if (!yes && this.text && this.fresh) {
      this.fresh = false;
      this.profile.set({ guideline: this.text.id });
    }
  }
}
