// What the labelling screen is made of: elements for turns and responses, names of keys, sentences about its states.
// Everything from outside becomes text, never markup. When what is shown is label.js's business.

const ROLE = { system: "System", user: "User", assistant: "Assistant", tool: "Tool" };

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function words(content) {
  const text = make("div", "tl-text", typeof content === "string" ? content : content.map(part).join(""));
  text.dir = "auto";
  return text;
}

function part(part) {
  return part.type === "text" ? part.text : `\n[${part.type}: not shown here]\n`;
}

export function turn({ role, content }) {
  const folded = role === "system";
  const box = make(folded ? "details" : "div", "tl-turn");
  box.dataset.role = role;
  box.append(make(folded ? "summary" : "span", "tl-label", ROLE[role] ?? role), words(content));
  return box;
}

export function card({ text }, index, many) {
  const box = make("article", "tl-card");
  const head = make("div", "tl-card-head");
  const title = make("h2", "", `Response ${index + 1}`);
  title.id = `tl-response-${index + 1}`;
  box.setAttribute("aria-labelledby", title.id);
  if (many) {
    const pick = make("button", "");
    pick.type = "button";
    pick.dataset.pick = index;
    pick.setAttribute("aria-label", `Response ${index + 1} comes next in the ranking`);
    pick.append(make("kbd", "", String(index + 1)), make("span", "", "next best"));
    head.append(title, make("span", "tl-rank"), pick);
  } else head.append(title);
  box.append(head, words(text));
  return box;
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

export function kept(waiting) {
  return waiting === 1
    ? "One judgment waits in this browser and is sent when you are back."
    : `${waiting} judgments wait in this browser and are sent when you are back.`;
}

export function restText(round, offline) {
  if (offline) return ["No connection", "Your judgments are kept in this browser and sent when the connection is back."];
  if (!round || !round.need) return ["No pairs yet", "Nothing has been put into the queue. Whoever leads this project can run: trueloop advance"];
  if (round.have >= round.need) {
    return [`Round ${round.round} is complete`, `All ${round.need} labels are in. Thank you. The lead can go on with: trueloop advance`];
  }
  return ["Nothing to label now", `You have seen every pair that is open. ${round.need - round.have} labels are still expected from others.`];
}
