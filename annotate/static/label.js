// The labelling screen: shows one pair, takes one judgment by key or mouse, and has the next pair ready.
// Making elements is pieces.js's business, saving outbox.js's; who may do what is the server's.

import { call, here, Outbox, Refused, uuid4 } from "./outbox.js";
import { card, kept, keyName, restText, turn } from "./pieces.js";

const AHEAD = 6; // pairs held in the page, the one on screen included
const SEEN_MS = 300; // a key is taken only when the pair has been on screen this long: nobody has read it sooner
const LOOK_AGAIN_MS = 5_000;
const RENEW_BEFORE_S = 600;
const KEPT_FOR_UNDO = 20;
const MOST_TASKS = 50; // what the server gives at most in one answer

const SAID = { first: "first is better", second: "second is better", tie: "tie", bad: "both bad" };

/** Bring the widget under `element` to life. */
export function start(element) {
  const root = element.querySelector(".tl");
  if (root && !root.dataset.started) {
    root.dataset.started = "true";
    new Screen(root).open();
  }
}

class Screen {
  tasks = []; // the first one is on screen
  handled = new Set(); // slots judged here, acknowledged or not
  history = []; // {task, uuid, said}, newest last
  rank = []; // positions pressed so far, for more than two responses
  locked = true;
  filling = null;
  epoch = 0; // counts undos: an answer asked for before one must not drop the pair brought back

  constructor(root) {
    this.root = root;
    this.at = (name) => root.querySelector(`.tl-${name}`);
    this.dialog = (name) => root.querySelector(`[data-dialog="${name}"]`);
    this.button = (act) => root.querySelector(`.tl-bar [data-act="${act}"]`);
  }

  async open() {
    document.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("click", (event) => this.click(event));
    document.addEventListener("visibilitychange", () => this.visible());
    setInterval(() => this.tick(), LOOK_AGAIN_MS);
    await this.connect();
  }

  async connect() {
    try {
      const me = await call("GET", "/api/me");
      this.at("name").textContent = me.name;
      this.at("lead").hidden = me.role === "annotator";
      this.outbox = new Outbox(me.id, {
        changed: () => this.saved(),
        stored: (entry) => this.stored(entry),
        refused: (entry, error) => this.notice(`One judgment could not be saved: ${error.message}`),
        signedOut: () => this.signedOut(),
      });
      for (const entry of this.outbox.entries) this.handled.add(entry.slot);
      await this.outbox.flush();
      await this.fill();
    } catch (error) {
      this.trouble(error);
    }
    if (!this.outbox) setTimeout(() => this.connect(), 3000);
  }

  // --- pairs -------------------------------------------------------------------------------------------------------

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
      this.progress(progress);
      if (epoch !== this.epoch) return;
      this.take(answer.tasks, held <= wanted);
    } catch (error) {
      this.trouble(error);
    }
    if (!this.tasks.length) this.rest();
  }

  /** Take over what the server leased to us: new pairs are appended; when `all` are told, those gone are dropped. */
  take(found, all) {
    const ours = new Map(found.map((task) => [task.slot, task]));
    const shown = this.tasks[0];
    if (all) this.tasks = this.tasks.filter((task) => ours.has(task.slot));
    for (const task of this.tasks) task.lease_until = ours.get(task.slot)?.lease_until ?? task.lease_until;
    const held = new Set(this.tasks.map((task) => task.slot));
    for (const task of found) {
      if (!held.has(task.slot) && !this.handled.has(task.slot)) this.tasks.push(task);
    }
    if (shown && this.tasks[0] !== shown) this.say("That pair went to someone else after a pause");
    if (this.tasks.length && this.tasks[0] !== shown) this.show();
  }

  /** Put the first pair on screen; keys stay locked until it has been painted and could be seen. */
  show() {
    this.locked = true;
    const task = this.tasks[0];
    if (!task) {
      this.rest();
      return;
    }
    this.rank = [];
    const many = task.responses.length > 2;
    this.at("prompt").replaceChildren(...task.prompt.map(turn));
    this.at("responses").replaceChildren(...task.responses.map((response, index) => card(response, index, many)));
    this.at("responses").dataset.many = many;
    for (const act of ["first", "second"]) this.button(act).hidden = many;
    this.at("rank-hint").hidden = !many;
    this.button("tie").querySelector("span").textContent = many ? "All equal" : "Tie";
    this.button("bad").querySelector("span").textContent = many ? "All bad" : "Both bad";
    this.state("pair");
    scrollTo({ top: 0, behavior: "instant" });
    this.unfold(false);
    this.at("pair").focus({ preventScroll: true });
    this.root.setAttribute("aria-busy", "true");
    requestAnimationFrame(() => setTimeout(() => this.painted(task)));
  }

  /** Show the whole of a long prompt, or its last part when it is a conversation, else its first. */
  unfold(open) {
    const prompt = this.at("prompt");
    const more = this.at("more");
    prompt.dataset.open = open;
    more.hidden = !open && prompt.scrollHeight <= prompt.clientHeight + 1;
    more.setAttribute("aria-expanded", open);
    more.firstElementChild.textContent = open ? "Fold the prompt" : "Whole prompt";
    prompt.scrollTop = !open && this.tasks[0].prompt.length > 2 ? prompt.scrollHeight : 0;
  }

  painted(task) {
    if (this.tasks[0] !== task) return;
    this.shownAt = performance.now();
    this.activeMs = 0;
    this.root.dataset.slot = task.slot;
    this.root.dispatchEvent(new CustomEvent("painted", { detail: { slot: task.slot, at: this.shownAt } }));
    clearTimeout(this.unlocking);
    this.unlocking = setTimeout(() => {
      this.locked = false;
      this.root.setAttribute("aria-busy", "false");
    }, SEEN_MS);
  }

  /** Nothing to show: say why, and what happens next. */
  rest() {
    this.locked = true;
    this.state("rest");
    const { round } = this.latest ?? {};
    const [title, text] = restText(round, Boolean(this.outbox?.offline));
    this.at("rest").querySelector("h2").textContent = title;
    this.at("rest").querySelector("p").textContent = text;
    this.at("rest").querySelector(".tl-small").textContent = `This page looks again every ${LOOK_AGAIN_MS / 1000} seconds.`;
    this.root.setAttribute("aria-busy", "false");
    delete this.root.dataset.slot;
  }

  state(name) {
    this.root.dataset.state = name;
    this.at("pair").hidden = name !== "pair";
    this.at("rest").hidden = name !== "rest";
    this.at("bar").hidden = name !== "pair" && !this.history.length;
    this.at("judge").hidden = this.button("bad").hidden = this.button("skip").hidden = name !== "pair";
    this.button("undo").disabled = !this.history.length;
  }

  // --- judgments ---------------------------------------------------------------------------------------------------

  /** Send the pair on screen with this judgment and show the next; does nothing while locked. */
  judge(path, said, body) {
    if (this.locked || !this.tasks.length) return;
    this.locked = true;
    const task = this.tasks.shift();
    const uuid = uuid4();
    this.handled.add(task.slot);
    this.history.push({ task, uuid, said });
    this.history.splice(0, this.history.length - KEPT_FOR_UNDO);
    this.say(`Last: ${said}`);
    this.show();
    this.outbox.add({ uuid, slot: task.slot, path, body: { uuid, ...body } });
    // Counts asked for after the labels are stored include them; asked for before, they would be counted twice.
    if (this.tasks.length < AHEAD - 2) this.outbox.flush().then(() => this.fill());
  }

  label(ranking, said, bothBad = false) {
    if (this.locked || !this.tasks.length) return;
    const slot = this.tasks[0].slot;
    this.judge("/api/labels", said, { slot, ranking, both_bad: bothBad, active_ms: this.elapsed() });
  }

  /** The response at `index` was picked: the winner of two, or the next in the ranking of more. */
  pick(index) {
    if (this.locked || !this.tasks.length) return;
    const ids = this.tasks[0].responses.map((response) => response.id);
    if (index >= ids.length) return;
    if (ids.length === 2) {
      this.label([[ids[index]], [ids[1 - index]]], index ? SAID.second : SAID.first);
      return;
    }
    if (this.rank.includes(index)) return;
    this.rank.push(index);
    const left = ids.map((_, position) => position).filter((position) => !this.rank.includes(position));
    this.ranks();
    if (left.length === 1) {
      const order = [...this.rank, left[0]];
      this.label(order.map((position) => [ids[position]]), order.map((position) => position + 1).join(" > "));
    }
  }

  ranks() {
    this.at("responses").querySelectorAll(".tl-card").forEach((shown, index) => {
      const place = this.rank.indexOf(index);
      shown.dataset.chosen = place >= 0;
      shown.querySelector(".tl-rank").textContent = place >= 0 ? `place ${place + 1}` : "";
      shown.querySelector("[data-pick]").hidden = place >= 0;
    });
  }

  all(said, bothBad) {
    if (this.locked || !this.tasks.length) return;
    this.label([this.tasks[0].responses.map((response) => response.id)], said, bothBad);
  }

  skip(reason) {
    this.dialog("skip").close();
    if (this.tasks.length) this.judge(`/api/slots/${this.tasks[0].slot}/skip`, "skipped", { reason });
  }

  /** Bring the last pair back: from the outbox when it was never sent, from the server when it was. */
  async undo() {
    const last = this.history.at(-1);
    if (!last || this.undoing) return;
    this.undoing = this.locked = true;
    try {
      if (!this.outbox.cancel(last.uuid)) {
        if (this.outbox.holds(last.uuid)) await this.outbox.flush();
        if (this.outbox.holds(last.uuid)) throw new TypeError("offline");
        await call("DELETE", `/api/labels/${last.uuid}`);
        if (last.counted) this.count(-1);
      }
      this.history.pop();
      this.epoch += 1;
      this.handled.delete(last.task.slot);
      this.tasks.unshift(last.task);
      this.say(`Brought back. You had said: ${last.said}`);
      this.show();
    } catch (error) {
      if (error instanceof Refused) this.history.pop();
      this.say(error instanceof Refused ? `It stands: ${error.message}` : "Undo needs a connection");
      this.locked = !this.tasks.length;
      this.state(this.root.dataset.state);
      if (error.status === 401) this.signedOut();
    } finally {
      this.undoing = false;
    }
  }

  // --- keys and mouse ----------------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable=true]")) return;
    const key = keyName(event);
    const open = this.root.querySelector("dialog[open]");
    if (open) {
      const reason = open.dataset.dialog === "skip" && open.querySelectorAll("[data-reason]")[Number(key) - 1];
      if (reason && !event.repeat) reason.click();
      if (key === "?" && open.dataset.dialog === "help") open.close();
      return;
    }
    const act = this.acts(key);
    if (!act) return;
    event.preventDefault();
    if (!event.repeat) act();
  }

  acts(key) {
    if (/^[1-9]$/.test(key)) return () => this.pick(Number(key) - 1);
    const two = this.tasks[0]?.responses.length === 2;
    return {
      ArrowLeft: two && (() => this.pick(0)),
      ArrowRight: two && (() => this.pick(1)),
      0: () => this.all(SAID.tie, false),
      t: () => this.all(SAID.tie, false),
      b: () => this.all(SAID.bad, true),
      s: () => this.ask(),
      u: () => this.undo(),
      p: !this.at("more").hidden && (() => this.fold()),
      "?": () => this.dialog("help").showModal(),
      Backspace: this.rank.length > 0 && (() => (this.rank.pop(), this.ranks())),
    }[key];
  }

  click(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.reason) this.skip(button.dataset.reason);
    if (button.dataset.pick) this.pick(Number(button.dataset.pick));
    ({
      first: () => this.pick(0),
      second: () => this.pick(1),
      tie: () => this.all(SAID.tie, false),
      bad: () => this.all(SAID.bad, true),
      skip: () => this.ask(),
      undo: () => this.undo(),
      more: () => this.fold(),
      help: () => this.dialog("help").showModal(),
      close: () => button.closest("dialog").close(),
      dismiss: () => (this.at("notice").hidden = true),
      leave: () => this.leave(),
    })[button.dataset.act]?.();
  }

  fold() {
    this.unfold(this.at("prompt").dataset.open !== "true");
  }

  ask() {
    if (!this.locked && this.tasks.length) this.dialog("skip").showModal();
  }

  async leave() {
    await this.outbox?.flush();
    if (this.outbox?.size && !confirm(`Not everything is saved yet. ${kept(this.outbox.size)} Sign out?`)) return;
    await call("POST", "/api/logout").catch(() => {});
    location.assign(here("/login"));
  }

  // --- what the page says ------------------------------------------------------------------------------------------

  say(text) {
    this.at("last").textContent = text;
  }

  saved() {
    const waiting = this.outbox.size;
    const at = this.at("saved");
    const offline = waiting ? `Offline, ${waiting} waiting` : "Offline";
    at.textContent = this.outbox.offline ? offline : waiting ? "Saving" : "Saved";
    at.dataset.tone = this.outbox.offline ? "bad" : waiting ? "busy" : "good";
  }

  stored(entry) {
    if (entry.path !== "/api/labels") return;
    const judged = this.history.find((judged) => judged.uuid === entry.uuid);
    if (judged) judged.counted = true;
    this.count(1);
  }

  progress(progress) {
    this.latest = progress;
    this.outbox.reached();
    this.count(0);
    this.saved();
  }

  count(more) {
    const { mine, round } = this.latest ?? {};
    if (!round) return;
    mine.in_round += more;
    round.have += more;
    const done = Math.min(round.have, round.need);
    this.at("count").textContent = `Round ${round.round}: ${done} of ${round.need} labels, ${mine.in_round} by you`;
    const bar = this.at("progress");
    bar.setAttribute("aria-valuemax", round.need);
    bar.setAttribute("aria-valuenow", done);
    bar.firstElementChild.style.width = `${round.need ? (100 * done) / round.need : 0}%`;
  }

  notice(text, signIn = false) {
    const at = this.at("notice");
    at.querySelector("span").textContent = text;
    at.querySelector("a").hidden = !signIn;
    at.hidden = false;
  }

  signedOut() {
    const waiting = this.outbox?.size ?? 0;
    this.locked = true;
    this.notice(`You are signed out.${waiting ? ` ${kept(waiting)}` : ""}`, true);
  }

  trouble(error) {
    if (error.status === 401) this.signedOut();
    else if (error instanceof Refused && error.status < 500) this.notice(error.message);
    else if (this.outbox) {
      this.outbox.offline = true;
      this.saved();
    }
  }

  // --- time --------------------------------------------------------------------------------------------------------

  /** Milliseconds this pair has been on screen in a visible tab. */
  elapsed() {
    const running = document.visibilityState === "visible" ? performance.now() - this.shownAt : 0;
    return Math.round(this.activeMs + running);
  }

  visible() {
    if (document.visibilityState === "hidden") this.activeMs += performance.now() - this.shownAt;
    else {
      this.shownAt = performance.now();
      this.tick();
    }
  }

  /** Every few seconds in a visible tab: look for pairs when there are none, send what waits, keep leases alive. */
  tick() {
    if (document.visibilityState !== "visible" || !this.outbox) return;
    if (this.outbox.size) this.outbox.flush();
    if (this.tasks.length < AHEAD - 2) this.fill();
    const soon = Date.now() / 1000 + RENEW_BEFORE_S;
    const slots = this.tasks.filter((task) => task.lease_until < soon).map((task) => task.slot);
    if (slots.length) this.renew(slots);
  }

  async renew(slots) {
    try {
      await call("POST", "/api/slots/renew", { slots });
    } catch (error) {
      if (!(error instanceof Refused)) return this.trouble(error);
    }
    await this.fill();
  }
}
