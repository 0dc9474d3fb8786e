// The last judgments of this page, and how the newest is taken back: from the outbox when it was never sent, from the
// server when it was.

import { call, Refused } from "./outbox.js";

const KEPT = 20;

export class Past {
  judged = []; // {task, uuid, said, kept}, newest last

  constructor(connection, status) {
    this.connection = connection;
    this.status = status;
  }

  get empty() {
    return this.judged.length === 0;
  }

  add(judged) {
    this.judged.push(judged);
    this.judged.splice(0, this.judged.length - KEPT);
  }

  /** A label has arrived at the server, and is counted there. */
  stored(uuid) {
    const judged = this.judged.find((judged) => judged.uuid === uuid);
    if (judged) judged.counted = true;
  }

  /** Take the newest back and return it; null when there is none. Throws Refused when it stands, TypeError offline. */
  async takeBack() {
    const { outbox } = this.connection;
    const last = this.judged.at(-1);
    if (!last) return null;
    try {
      if (!outbox.cancel(last.uuid)) {
        if (outbox.holds(last.uuid)) await outbox.flush();
        if (outbox.holds(last.uuid)) throw new TypeError("offline");
        await call("DELETE", `/api/labels/${last.uuid}`);
        if (last.counted) this.status.count(-1);
      }
    } catch (error) {
      if (error instanceof Refused && error.status !== 401) this.judged.pop();
      throw error;
    }
    return this.judged.pop();
  }
}
