// The one table of keys, from which presses are understood, chips and screen readers are told, and the help is written.
// Every key can be changed, and keys of a single character can be switched off (WCAG 2.1.4). What an act does: label.js.

const DIGITS = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];

export const TABLE = {
  ...Object.fromEntries(DIGITS.map((digit) => [`pick${digit}`, [digit]])),
  left: ["ArrowLeft"],
  right: ["ArrowRight"],
  tie: ["0", "t"],
  bad: ["b"],
  join: ["="],
  back: ["Backspace"],
  next: ["n"],
  send: ["Enter"],
  reason: ["r"],
  edit: ["e"],
  flag: ["f"],
  skip: ["s"],
  undo: ["u"],
  down: [" ", "PageDown", "ArrowDown"],
  up: ["PageUp", "ArrowUp"],
  diff: ["d"],
  view: ["v"],
  link: ["l"],
  more: ["p"],
  guideline: ["g"],
  history: ["h"],
  settings: [","],
  help: ["?"],
};

const SHOWN = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space", PageDown: "PgDn", PageUp: "PgUp" };

export class Keys {
  constructor(profile) {
    this.profile = profile;
  }

  /** The keys of an act; none where they are switched off. */
  of(act) {
    const { keys, shortcuts } = this.profile.settings;
    return (keys[act] ?? TABLE[act]).filter((key) => shortcuts || key.length > 1);
  }

  /** The act of a press, or undefined. */
  act(name) {
    return Object.keys(TABLE).find((act) => this.of(act).includes(name));
  }

  /** What the chip on an act's button says. */
  chip(act) {
    return shown(this.of(act)[0] ?? "");
  }

  /** Give an act one key of its own; whatever had it goes without. */
  set(act, key) {
    const keys = { ...this.profile.settings.keys };
    for (const other of Object.keys(TABLE)) {
      const had = keys[other] ?? TABLE[other];
      if (other !== act && had.includes(key)) keys[other] = had.filter((each) => each !== key);
    }
    keys[act] = [key];
    return this.profile.set({ keys });
  }

  reset() {
    return this.profile.set({ keys: {} });
  }
}

export function shown(key) {
  return SHOWN[key] ?? key;
}

/** The key by its meaning: digits also where the layout puts them behind Shift, letters also on other alphabets. */
export function keyName(event) {
  if (/^[0-9]$/.test(event.key) || event.key.length > 1) return event.key;
  const digit = /^Digit([0-9])$/.exec(event.code);
  if (digit && !event.shiftKey) return digit[1];
  const letter = /^Key([A-Z])$/.exec(event.code);
  if (letter && !/[ -~]/.test(event.key)) return letter[1].toLowerCase();
  return event.key.toLowerCase();
}

/** The digit under a press with Shift held, wherever the layout has it; "" for any other press. */
export function shiftedDigit(event) {
  return event.shiftKey ? (/^Digit([1-9])$/.exec(event.code)?.[1] ?? "") : "";
}
