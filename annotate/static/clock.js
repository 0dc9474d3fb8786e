// Time at work: how long a pair has been on screen in a visible tab, and when a break is due. Speed is never judged.

const AWAY_MS = 5 * 60_000; // a pause of this length is a break

export class Clock {
  activeMs = 0;
  shownAt = performance.now();
  since = 0; // when this sitting began

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.activeMs += performance.now() - this.shownAt;
      else this.shownAt = performance.now();
    });
  }

  /** A pair has just been painted. */
  start() {
    this.activeMs = 0;
    this.shownAt = performance.now();
    return this.shownAt;
  }

  /** Milliseconds this pair has been on screen in a visible tab. */
  get elapsed() {
    const running = document.visibilityState === "visible" ? performance.now() - this.shownAt : 0;
    return Math.round(this.activeMs + running);
  }

  /** Note a judgment now; whether a break is due after so many minutes of work (0: never), each time anew. */
  worked(minutes, now = Date.now()) {
    if (!this.since || now - this.last > AWAY_MS) this.since = now;
    this.last = now;
    if (!minutes || now - this.since < minutes * 60_000) return false;
    this.since = now;
    return true;
  }
}
