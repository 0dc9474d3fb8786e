// Judgments on their way to the server: kept in localStorage until each is acknowledged, sent in order, one at a time.
// What the server refuses for good is reported, never dropped in silence. What is on screen is label.js's business.

const BASE = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
const RETRY_MS = [1000, 2000, 4000, 8000, 15000];

/** A path of ours with the prefix under which a proxy may serve us. */
export function here(path) {
  return BASE + path;
}

export class Refused extends Error {
  constructor(status, body) {
    super([body.error || `the server answered ${status}`, body.next].filter(Boolean).join(". "));
    this.status = status;
  }
}

/** One request to our own API; resolves to the JSON answer, throws Refused, or TypeError when there is no connection. */
export async function call(method, path, body) {
  const options = { method, headers: { accept: "application/json" }, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
    options.keepalive = options.body.length < 30000;
  }
  const response = await fetch(here(path), options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

/** Random version 4 UUID; crypto.randomUUID is missing on pages served by plain http. */
export function uuid4() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export class Outbox {
  /** One annotator's outbox in this browser; takes up what an earlier page left behind. */
  constructor(owner, { changed, stored, refused, signedOut, unkept }) {
    this.prefix = `trueloop.outbox.${owner}.`;
    this.on = { changed, stored, refused, signedOut, unkept };
    this.entries = this.#load();
    this.sending = null;
    this.offline = false;
    this.failures = 0;
    this.timer = 0;
    addEventListener("online", () => this.flush());
  }

  get size() {
    return this.entries.length;
  }

  /** Keep an entry {uuid, slot, path, body, ...} and send it after those before it. */
  add(entry) {
    this.entries.push({ ...entry, at: Date.now() });
    this.#keep(this.entries.at(-1));
    this.on.changed();
    if (!this.offline) this.flush();
  }

  /** Take back an entry that was never sent; false when it is on its way or gone. */
  cancel(uuid) {
    const at = this.entries.findIndex((entry) => entry.uuid === uuid && !entry.tried);
    if (at < 0) return false;
    this.#forget(this.entries[at]);
    this.on.changed();
    return true;
  }

  holds(uuid) {
    return this.entries.some((entry) => entry.uuid === uuid);
  }

  /** Send all that waits; resolves when the outbox is empty or has to wait for the network. */
  flush() {
    clearTimeout(this.timer);
    this.sending ??= this.#send().finally(() => (this.sending = null));
    return this.sending;
  }

  async #send() {
    while (this.entries.length) {
      const entry = this.entries[0];
      try {
        entry.tried = true;
        this.#keep(entry);
        const answer = await call("POST", entry.path, entry.body);
        this.reached();
        this.#forget(entry);
        this.on.stored(entry, answer);
      } catch (error) {
        if (!this.#failed(entry, error)) return;
      }
      this.on.changed();
    }
  }

  /** Whether to go on with the next entry after this failure. */
  #failed(entry, error) {
    const status = error instanceof Refused ? error.status : 0;
    if (status === 401) {
      this.on.signedOut();
      return false;
    }
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
      this.reached();
      this.#forget(entry);
      this.on.refused(entry, error);
      return true;
    }
    this.offline = true;
    this.timer = setTimeout(() => this.flush(), RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]);
    this.on.changed();
    return false;
  }

  /** The server has answered: there is a connection. */
  reached() {
    this.offline = false;
    this.failures = 0;
  }

  #load() {
    const found = [];
    for (const key of this.#keys()) {
      try {
        found.push({ ...JSON.parse(localStorage.getItem(key)), tried: true });
      } catch {
        localStorage.removeItem(key);
      }
    }
    return found.sort((a, b) => a.at - b.at);
  }

  #keys() {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
    } catch {
      return [];
    }
  }

  #keep(entry) {
    try {
      localStorage.setItem(this.prefix + entry.uuid, JSON.stringify(entry));
    } catch {
      // Storage is full or forbidden: the entry still lives in this page and is sent from here.
      this.on.unkept();
    }
  }

  #forget(entry) {
    this.entries = this.entries.filter((other) => other.uuid !== entry.uuid);
    try {
      localStorage.removeItem(this.prefix + entry.uuid);
    } catch {
      // As above.
    }
  }
}
