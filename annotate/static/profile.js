// What one annotator set for themselves: theme, language, view, keys. In this browser at once, on the server as well
// where it keeps profiles; the server's word counts at the next sign-in.

import { call } from "./outbox.js";

export const STORE = "trueloop.settings"; // also read by early.js, before anything is painted
const DEFAULTS = { theme: "system", locale: "", view: "verbatim", linked: true, shortcuts: true, keys: {}, guideline: "" };

export class Profile {
  optedOut = [];
  topics = []; // those there are

  constructor() {
    this.settings = { ...DEFAULTS, ...stored() };
  }

  /** Take over what the server keeps of this person; settings changed here while it was away go there first. */
  async load() {
    if (this.settings.unsent) return this.set({});
    const found = await call("GET", "/api/profile").catch(() => null);
    if (!found) return;
    this.optedOut = found.opted_out ?? [];
    this.topics = found.topics ?? [];
    if (Object.keys(found.settings ?? {}).length) this.#keep({ ...DEFAULTS, ...found.settings });
  }

  /** Change settings, here and on the server. */
  async set(changes) {
    this.#keep({ ...this.settings, ...changes, unsent: true });
    const { unsent, ...settings } = this.settings;
    if (await put({ settings })) this.#keep(settings);
  }

  async optOut(topics) {
    this.optedOut = topics;
    return put({ opted_out: topics });
  }

  #keep(settings) {
    this.settings = settings;
    document.documentElement.dataset.theme = settings.theme;
    try {
      localStorage.setItem(STORE, JSON.stringify(settings));
    } catch {
      // Storage is full or forbidden: the settings hold for this page.
    }
  }
}

function put(changes) {
  return call("PUT", "/api/profile", changes).then(() => true, () => false);
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}
