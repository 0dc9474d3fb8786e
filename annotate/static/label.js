// The labelling screen: shows one pair, takes one judgment by key or mouse, and has the next pair ready.
// What is asked is campaign.js's business, what was answered draft.js's, keys and dialogs desk.js's, the server
// connection.js's; who may do what is the server's.

import { Bar } from "./bar.js";
import { saying } from "./campaign.js";
import { Clock } from "./clock.js";
import { Connection, LOOK_AGAIN_MS } from "./connection.js";
import { Desk } from "./desk.js";
import { Draft } from "./draft.js";
import { Drafts } from "./drafts.js";
import { Guideline } from "./guideline.js";
import { Keys } from "./keys.js";
import { Note } from "./note.js";
import { Refused, uuid4 } from "./outbox.js";
import { Past } from "./past.js";
import { Profile } from "./profile.js";
import * as ratings from "./ratings.js";
import { Reading } from "./reading.js";
import { Status } from "./status.js";
import { speak, t, translate } from "./strings.js";

const SEEN_MS = 300; // a key is taken only when the pair has been on screen this long: nobody has read it sooner
const LONGEST = { reason: 20_000, edit: 200_000 };

/** Bring the widget under `element` to life. */
export function start(element) {
  const root = element.querySelector(".tl");
  if (root && !root.dataset.started) {
    root.dataset.started = "true";
    new Screen(root).open();
  }
}

class Screen {
  locked = true;

  constructor(root) {
    this.root = root;
    this.at = (name) => root.querySelector(`.tl-${name}`);
    this.profile = new Profile();
    this.keys = new Keys(this.profile);
    this.clock = new Clock();
    this.status = new Status(root);
    this.reading = new Reading(root, this.profile);
    this.guideline = new Guideline(root, this.profile);
    this.note = new Note(this.at("note"));
    this.bar = new Bar(root, this.keys, { arranged: () => this.answered() });
    this.connection = new Connection(this);
    this.past = new Past(this.connection, this.status);
    this.desk = new Desk(this);
  }

  async open() {
    await this.speak(this.profile.settings.locale);
    this.desk.listen();
    await this.connection.open();
  }

  get campaign() {
    return this.connection.campaign;
  }

  get tray() {
    return this.connection.tray;
  }

  get outbox() {
    return this.connection.outbox;
  }

  /** The page has found the server and its person. */
  met(me) {
    this.drafts = new Drafts(me.id);
    this.at("name").textContent = me.name;
    this.at("lead").hidden = me.role === "annotator";
    this.guideline.take(this.campaign.guideline);
  }

  async speak(locale) {
    await speak(locale);
    translate(this.root);
    this.chips();
    this.connection.told();
    if (this.state === "pair") this.show(true);
    if (this.state === "rest") this.rest();
  }

  /** The keys' names on everything that has one. */
  chips() {
    for (const chip of this.root.querySelectorAll("[data-key]")) chip.textContent = this.keys.chip(chip.dataset.key);
    if (this.draft) this.#offer();
  }

  // --- the pair on screen ------------------------------------------------------------------------------------------

  get task() {
    return this.tray?.first ?? null;
  }

  get ready() {
    return !this.locked && this.task !== null;
  }

  changed(why) {
    if (why) this.status.say(t(`pair.${why}`));
    if (this.state === "feedback") return; // the pair that was judged is still being read
    if (this.task) this.show();
    else this.rest();
  }

  /** Put the first pair on screen; keys stay locked until it has been painted and could be seen. */
  show(again = false) {
    this.locked = true;
    const { task } = this;
    if (!task) return this.rest();
    this.draft = new Draft(this.campaign, task, again ? this.draft.kept : (task.kept ?? this.drafts.of(task.slot)));
    this.note.hide();
    this.desk.shut();
    this.reading.show(task, this.keys);
    this.#offer();
    this.#banner(task);
    this.#state("pair");
    scrollTo({ top: 0, behavior: "instant" });
    this.reading.unfold(false);
    this.at("pair").focus({ preventScroll: true });
    this.root.setAttribute("aria-busy", "true");
    requestAnimationFrame(() => setTimeout(() => this.painted(task)));
  }

  /** Draw what can be said about the pair, with its keys. */
  #offer() {
    ratings.ask(this.reading.cards, this.draft, this.keys, () => this.answered());
    this.bar.show(this.draft);
    this.refresh();
  }

  #banner(task) {
    const at = this.at("banner");
    at.hidden = !(task.practice || task.revises || task.objective === "safe");
    at.textContent = t(task.revises ? "banner.revise" : task.practice ? "banner.practice" : "banner.safe");
  }

  painted(task) {
    if (this.task !== task) return;
    const at = this.clock.start();
    this.root.dataset.slot = task.slot;
    this.root.dispatchEvent(new CustomEvent("painted", { detail: { slot: task.slot, at } }));
    clearTimeout(this.unlocking);
    this.unlocking = setTimeout(() => {
      this.locked = false;
      this.root.setAttribute("aria-busy", "false");
    }, SEEN_MS);
  }

  /** Nothing to show: say why, and what happens next. */
  rest() {
    this.locked = true;
    this.draft = null;
    this.note.hide();
    this.#state("rest");
    this.status.rest(this.campaign, this.tray?.reason, Boolean(this.outbox?.offline), LOOK_AGAIN_MS / 1000);
    this.root.setAttribute("aria-busy", "false");
    delete this.root.dataset.slot;
  }

  #state(name) {
    this.state = this.root.dataset.state = name;
    this.at("pair").hidden = name === "rest";
    this.at("rest").hidden = name !== "rest";
    this.at("feedback").hidden = name !== "feedback";
    this.at("foot").hidden = name === "rest" && this.past.empty;
    this.bar.only(name === "rest" ? ["undo"] : null);
    this.bar.undoable(!this.past.empty);
  }

  // --- judgments ---------------------------------------------------------------------------------------------------

  /** Show what was said so far, and keep it over a reload. */
  refresh() {
    this.bar.refresh();
    this.bar.undoable(!this.past.empty);
    ratings.refresh(this.reading.cards, this.draft);
    this.reading.places(this.draft);
  }

  /** Something was said that does not send by itself: a flag, a rating by mouse, a move in the ranking. */
  answered() {
    this.drafts.keep(this.task.slot, this.draft);
    this.refresh();
  }

  /** Something was said that may complete the judgment: send it, or lead to what is missing. */
  settle() {
    const { draft } = this;
    this.drafts.keep(this.task.slot, this.draft);
    const { missing } = draft;
    if (missing === null) return this.label();
    if (missing === "rationale") this.write("reason");
    else if (missing === "edit") this.write("edit");
    else if (missing !== "comparison") {
      draft.at = draft.questions.indexOf(missing);
      this.status.say(ratings.asked(missing));
    }
    this.refresh();
  }

  label() {
    const { task, draft } = this;
    const body = { slot: task.slot, ...draft.body, active_ms: this.clock.elapsed };
    if (task.revises) body.supersedes = task.revises;
    this.judge("/api/labels", saying(this.campaign, task, body), body);
  }

  /** Send the pair on screen with this judgment and show the next; does nothing while locked. */
  judge(path, said, body) {
    if (!this.ready) return;
    this.locked = true;
    this.shownTask = this.task;
    const uuid = uuid4();
    const { kept } = this.draft;
    const task = this.tray.shift();
    if (!task.revises && !task.practice) this.past.add({ task, uuid, said, kept });
    this.status.say(t("last", { said }));
    this.told = task.practice && path === "/api/labels" ? null : {};
    if (this.told) this.show();
    else this.#state("feedback");
    this.outbox.add({ uuid, slot: task.slot, path, practice: task.practice, body: { uuid, ...body } });
    if (!this.told) this.outbox.flush().then(() => this.told ?? this.goOn());
    this.connection.tellTabs(task.slot);
    this.drafts.forget();
    if (this.clock.worked(this.campaign.break_after_minutes)) this.status.notice(t("break", { n: this.campaign.break_after_minutes }));
    // Counts asked for after the labels are stored include them; asked for before, they would be counted twice.
    if (this.tray.low) this.outbox.flush().then(() => this.tray.fill());
  }

  skip(reason) {
    if (this.task) this.judge(`/api/slots/${this.task.slot}/skip`, t("said.skipped"), { reason });
  }

  /** Bring the last pair back. */
  async undo() {
    if (this.past.empty || this.undoing || this.state === "feedback") return;
    this.undoing = this.locked = true;
    try {
      const { task, said, kept } = await this.past.takeBack();
      this.tray.bring({ ...task, kept });
      this.status.say(t("undone", { said }));
      this.show();
    } catch (error) {
      this.status.say(error instanceof Refused ? t("undo.refused", { why: error.message }) : t("undo.offline"));
      this.locked = !this.task;
      this.#state(this.state);
      if (error.status === 401) this.connection.signedOut();
    } finally {
      this.undoing = false;
    }
  }

  /** Judge an earlier pair anew; the new judgment supersedes the old one. */
  revise({ uuid, task, criteria, rationale, edited, flags }) {
    this.tray.bring({ ...task, revises: uuid, practice: false, kept: structuredClone({ criteria, rationale, edited, flags }) });
    this.show();
  }

  /** Leave a revision as it was. */
  leaveRevision() {
    this.tray.shift();
    this.show();
  }

  // --- writing -----------------------------------------------------------------------------------------------------

  /** Open the place to write the reason, or a better version of the better response. */
  write(kind) {
    const { draft } = this;
    if (!this.ready) return;
    const original = this.task.responses.find((response) => response.id === draft.best)?.text;
    const value = kind === "reason" ? draft.rationale : (draft.edited[draft.best] ?? original);
    this.note.write(kind, value, LONGEST[kind], {
      wrote: (text) => {
        if (kind === "reason") draft.rationale = text;
        else draft.edited = text === original || !text.trim() ? {} : { [draft.best]: text };
        this.answered();
      },
      done: (sent) => {
        this.at("pair").focus({ preventScroll: true });
        if (kind === "edit") draft.improving = false;
        if (sent && draft.compared) this.settle();
      },
    });
  }

  // --- answers of the server ---------------------------------------------------------------------------------------

  stored(entry, { feedback } = {}) {
    if (this.state === "feedback" && !this.told && feedback) {
      this.told = feedback;
      this.status.feedback(feedback, this.shownTask);
    }
    if (entry.path !== "/api/labels" || entry.body.supersedes || entry.practice) return;
    this.past.stored(entry.uuid);
    this.status.count(1);
  }

  /** On from a practice pair, after its feedback was read or where there is none. */
  goOn() {
    this.told = {};
    this.#state("rest");
    this.show();
  }
}
