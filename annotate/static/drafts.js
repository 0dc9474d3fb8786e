// The judgment being made, kept in this browser: a reload or a new sign-in brings back what was written of it.

export class Drafts {
  constructor(owner) {
    this.key = `trueloop.draft.${owner}`;
  }

  keep(slot, draft) {
    try {
      localStorage.setItem(this.key, JSON.stringify({ slot, ...draft.kept }));
    } catch {
      // Storage is full or forbidden: the draft lives in this page.
    }
  }

  /** What was kept of this slot. */
  of(slot) {
    try {
      const { slot: of, ...kept } = JSON.parse(localStorage.getItem(this.key)) ?? {};
      return of === slot ? kept : {};
    } catch {
      return {};
    }
  }

  forget() {
    try {
      localStorage.removeItem(this.key);
    } catch {
      // As above.
    }
  }
}
