// Hands on the screen: presses, clicks and dialogs, each turned into one act. What an act does to the pair is label.js's
// business; which key it has, keys.js's.

import { Flags } from "./flags.js";
import { History } from "./history.js";
import { keyName, shiftedDigit } from "./keys.js";
import { KeyList, Settings } from "./settings.js";
import { t } from "./strings.js";

const WRITING = "input, textarea, select, [contenteditable=true]";
const PRESSED = "button, a, summary, label"; // Space and Enter are theirs when they have the focus

/** Which response lies on that side: the first one is where a line of this language begins. */
function sideAt(side) {
  return (side === "left") === (document.dir === "rtl") ? 1 : 0;
}

export class Desk {
  constructor(screen) {
    this.screen = screen;
    const dialog = (name) => screen.root.querySelector(`[data-dialog="${name}"]`);
    this.skipping = dialog("skip");
    this.flags = new Flags(dialog("flag"), () => screen.answered());
    this.history = new History(dialog("history"), { campaign: () => screen.campaign, revise: (label) => screen.revise(label) });
    this.settings = new Settings(dialog("settings"), screen.profile, (locale) => screen.speak(locale));
    this.list = new KeyList(dialog("help"), screen.keys, {
      applies: (act) => this.#applies(act),
      named: (act) => this.#named(act),
      changed: () => screen.chips(),
    });
  }

  listen() {
    document.addEventListener("keydown", (event) => this.#key(event));
    this.screen.root.addEventListener("click", (event) => this.#click(event));
  }

  /** Another pair is coming: what was asked about the one before is asked no more. */
  shut() {
    this.skipping.close();
    this.flags.dialog.close();
  }

  // --- what there is to do -------------------------------------------------------------------------------------------

  /** Do one act; `all` with Shift, `key` is the press behind it. */
  act(name, { all = false, key = "" } = {}) {
    const { screen } = this;
    const { draft, reading } = screen;
    if (name.startsWith("pick")) return this.#pick(Number(name.slice(4)) - 1, all);
    return ({
      left: () => this.#side(sideAt("left")),
      right: () => this.#side(sideAt("right")),
      tie: () => this.#tie(key),
      bad: () => this.#say(() => draft.level(true)),
      join: () => this.#arrange(() => (draft.joining = !draft.joining)),
      back: () => this.#back(),
      next: () => this.#arrange(() => draft.step(1)),
      send: () => this.#send(),
      reason: () => screen.write("reason"),
      edit: () => this.#improve(),
      flag: () => screen.ready && this.flags.open(draft),
      skip: () => screen.ready && this.#askToSkip(),
      undo: () => screen.undo(),
      down: () => reading.scroll(key),
      up: () => reading.scroll(key || "PageUp"),
      diff: () => reading.ask(key),
      view: () => reading.toggleView(),
      link: () => reading.toggleLink(),
      more: () => reading.fold(),
      guideline: () => screen.guideline.toggle(),
      history: () => this.history.open(),
      settings: () => this.settings.open(),
      help: () => this.list.open(),
    })[name]();
  }

  /** Whether an act means anything now: its key is left alone where it does not. */
  #can(name) {
    const { screen } = this;
    const { draft, state } = screen;
    if (["undo", "history", "settings", "help", "guideline"].includes(name)) return true;
    if (name === "send") return state === "feedback" || (state === "pair" && draft.compared);
    if (state !== "pair" || !draft) return false;
    if (name === "more") return !screen.at("more").hidden;
    if (name === "back") return draft.placed.length > 0 || draft.at > 0 || Boolean(screen.task.revises);
    return this.#applies(name);
  }

  /** Whether an act exists in this campaign, for this pair. */
  #applies(name) {
    const { draft, campaign } = this.screen;
    if (!draft) return !/^(pick|left|right|tie|bad|join|next|edit|reason)/.test(name);
    const many = draft.scale.length === 0;
    const digits = Math.max(many ? draft.ids.length : draft.graded ? draft.scale.length : 2, ...draft.questions.map((question) => question.answers.length));
    if (name.startsWith("pick")) return Number(name.slice(4)) <= digits;
    return {
      left: !many && !draft.graded,
      right: !many && !draft.graded,
      tie: campaign.ties || draft.questions.some((question) => question.answers.length > 9),
      bad: campaign.both_bad,
      join: many && campaign.ties,
      next: draft.questions.length > 0,
      edit: campaign.edit,
      reason: campaign.rationale !== "off",
      guideline: Boolean(campaign.guideline),
    }[name] ?? true;
  }

  /** What an act does here, for the list of keys. */
  #named(name) {
    const { draft } = this.screen;
    if (!draft || !/^(pick|left|right)/.test(name)) return t(`key.${name}`);
    const index = name.startsWith("pick") ? Number(name.slice(4)) - 1 : sideAt(name);
    const digit = index + 1;
    const point = draft.graded ? draft.scale[index] : draft.scale.find(({ better }) => better === index);
    const compares = draft.scale.length ? point?.said : index < draft.ids.length ? t("key.rank", { n: digit }) : "";
    const answers = draft.questions.some((question) => index < question.answers.length) ? t("key.answer", { n: digit }) : "";
    return [compares, answers].filter(Boolean).join("; ");
  }

  // --- judgments -------------------------------------------------------------------------------------------------------

  /** Change the draft by something that may complete it. */
  #say(change) {
    if (!this.screen.ready) return;
    change();
    this.screen.settle();
  }

  /** Change the draft by something that does not. */
  #arrange(change) {
    if (!this.screen.ready) return;
    change();
    this.screen.answered();
  }

  /** The digit of `index`: an answer to the question that is open, else a point of the scale or a place in the ranking. */
  #pick(index, all) {
    const { draft } = this.screen;
    const { question } = draft;
    if (question) {
      const answer = question.answers[index];
      if (answer) this.#say(() => draft.answer(question, answer.value, all));
    } else if (draft.graded) {
      if (draft.scale[index]) this.#say(() => draft.take(draft.scale[index]));
    } else if (draft.scale.length) this.#side(index);
    else if (draft.ids[index]) this.#say(() => draft.place(draft.ids[index]));
  }

  /** All are equal; or the tenth answer, which has the key 0 where there is one. */
  #tie(key) {
    const { draft } = this.screen;
    if (key === "0" && draft.question?.answers.length > 9) this.#pick(9);
    else if (draft.campaign.ties) this.#say(() => draft.level(false));
  }

  #side(index) {
    const { draft } = this.screen;
    const point = draft.graded ? null : draft.scale.find(({ better }) => better === index);
    if (point) this.#say(() => draft.take(point));
  }

  #back() {
    const { screen } = this;
    const { draft } = screen;
    if (draft.placed.length) this.#arrange(() => draft.takeOut(draft.placed.at(-1)));
    else if (draft.at > 0) this.#arrange(() => draft.step(-1));
    else if (screen.task.revises) screen.leaveRevision();
  }

  #send() {
    const { screen } = this;
    if (screen.state === "feedback") return screen.told ? screen.goOn() : null;
    if (screen.draft.compared) this.#say(() => (screen.draft.improving = false));
  }

  /** Rewrite the better response: at once when it is known, else as soon as it is. */
  #improve() {
    const { screen } = this;
    const { draft } = screen;
    if (!screen.ready || draft.best) return screen.write("edit");
    this.#arrange(() => (draft.improving = !draft.improving));
    screen.status.say(draft.improving ? t("edit.first") : "");
  }

  #askToSkip() {
    const { topic } = this.screen.task;
    const check = this.skipping.querySelector(".tl-check");
    check.hidden = !topic;
    check.querySelector("input").checked = false;
    check.querySelector("span").textContent = t("skip.topic", { topic });
    this.skipping.showModal();
  }

  #skip(reason) {
    const { screen } = this;
    const { topic } = screen.task ?? {};
    if (topic && this.skipping.querySelector("input").checked) screen.profile.optOut([...new Set([...screen.profile.optedOut, topic])]);
    this.skipping.close();
    screen.skip(reason);
  }

  // --- keys and mouse ----------------------------------------------------------------------------------------------

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const key = keyName(event);
    const open = this.screen.root.querySelector("dialog[open]");
    if (open ? this.#inDialog(open, key, event) : this.#onPage(key, event)) event.preventDefault();
  }

  /** Whether the press was taken. */
  #onPage(key, event) {
    if (event.target.closest?.(WRITING)) return false;
    if ((key === " " || key === "Enter") && event.target.closest?.(PRESSED)) return false;
    const digit = shiftedDigit(event);
    const all = digit !== "" && Boolean(this.screen.draft?.question);
    const name = this.screen.keys.act(all ? digit : key);
    if (!name || !this.#can(name)) return false;
    const scrolls = name === "down" || name === "up";
    if (event.repeat && !scrolls) return true;
    const done = this.act(name, { all, key });
    return !scrolls || done !== false;
  }

  #inDialog(open, key, event) {
    const { dialog } = open.dataset;
    if (event.repeat) return false;
    if (dialog === "help") {
      if (this.list.key(event.key.length > 1 ? event.key : key)) return true;
      const again = this.screen.keys.act(key) === "help";
      if (again) open.close();
      return again;
    }
    if (event.target.closest?.("select")) return false;
    if (dialog === "skip") {
      const reason = open.querySelectorAll("[data-reason]")[Number(key) - 1];
      reason?.click();
      return Boolean(reason);
    }
    if (dialog === "flag") {
      if (this.screen.keys.act(key) === "flag") return open.close(), true;
      return this.flags.key(key);
    }
    return false;
  }

  #click(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const { act, point, pick, reason } = button.dataset;
    const { screen } = this;
    const { draft } = screen;
    if (reason) this.#skip(reason);
    else if (point) this.#say(() => draft.take(draft.scale[point]));
    else if (pick) this.#say(() => draft.place(draft.ids[pick]));
    else if (act === "close") button.closest("dialog").close();
    else if (act === "dismiss") screen.at("notice").hidden = true;
    else if (act === "noted") screen.note.close();
    else if (act === "older") this.history.older();
    else if (act === "leave") screen.connection.leave();
    else if (act && act !== "reset" && this.#can(act)) this.act(act);
  }
}
