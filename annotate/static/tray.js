// The pairs leased to this page: fetched ahead, kept alive, given up when the server says they are somebody else's.
// What the server tells is the truth; what is on screen is label.js's business.

import { call, Refused } from "./outbox.js";

export const AHEAD = 6; // pairs held in the page, the one on screen included
const RENEW_BEFORE_S = 600;
const MOST_TASKS = 50; // what the server gives at most in one answer

export class Tray {
  tasks = []; // the first one is on screen
  handled = new Set(); // slots judged here, acknowledged or not
  filling = null;
  epoch = 0; // counts pairs brought back: an answer asked for before one must not drop it

  constructor(outbox, { changed, progress, trouble }) {
    this.outbox = outbox;
    this.on = { changed, progress, trouble };
    for (const entry of outbox.entries) this.handled.add(entry.slot);
  }

  get first() {
    return this.tasks[0] ?? null;
  }

  get low() {
    return this.tasks.length < AHEAD - 2;
  }

  /** Take the first pair out: it has been judged. */
  shift() {
    const task = this.tasks.shift();
    if (!task.revises) this.handled.add(task.slot);
    return task;
  }

  /** Put a pair in front: one taken back, or one to be revised. */
  bring(task) {
    this.epoch += 1;
    if (!task.revises) this.handled.delete(task.slot);
    this.tasks.unshift(task);
  }

  /** Another tab of this person has judged a pair. */
  drop(slot) {
    this.handled.add(slot);
    const shown = this.first;
    this.tasks = this.tasks.filter((task) => task.slot !== slot || task.revises);
    if (this.first !== shown) this.on.changed("elsewhere");
  }

  /** Fetch pairs until AHEAD are held; resolves at once when a fetch is under way. */
  fill() {
    this.filling ??= this.#fill().finally(() => (this.filling = null));
    return this.filling;
  }

  async #fill() {
    const epoch = this.epoch;
    const held = this.tasks.length + this.outbox.size;
    const wanted = Math.min(Math.max(AHEAD + this.outbox.size, held), MOST_TASKS);
    try {
      const [answer, progress] = await Promise.all([call("GET", `/api/tasks?n=${wanted}`), call("GET", "/api/progress")]);
      this.on.progress(progress);
      this.reason = answer.reason; // why there are none, where a rule of the campaign says so
      if (epoch !== this.epoch) return;
      this.#take(answer.tasks, held <= wanted);
    } catch (error) {
      this.on.trouble(error);
    }
    if (!this.tasks.length) this.on.changed("");
  }

  /** Take over what the server leased to us: new pairs are appended; when `all` are told, those gone are dropped. */
  #take(found, all) {
    const ours = new Map(found.map((task) => [task.slot, task]));
    const shown = this.first;
    if (all) this.tasks = this.tasks.filter((task) => task.revises || ours.has(task.slot));
    for (const task of this.tasks) task.lease_until = ours.get(task.slot)?.lease_until ?? task.lease_until;
    const held = new Set(this.tasks.map((task) => task.slot));
    for (const task of found) {
      if (!held.has(task.slot) && !this.handled.has(task.slot)) this.tasks.push(task);
    }
    if (this.first !== shown && this.first) this.on.changed(shown ? "lost" : "");
  }

  /** Keep the leases that run out soon. */
  async renew() {
    const soon = Date.now() / 1000 + RENEW_BEFORE_S;
    const slots = this.tasks.filter((task) => task.lease_until < soon && !task.revises).map((task) => task.slot);
    if (!slots.length) return;
    try {
      await call("POST", "/api/slots/renew", { slots });
    } catch (error) {
      if (!(error instanceof Refused)) return this.on.trouble(error);
    }
    await this.fill();
  }
}
