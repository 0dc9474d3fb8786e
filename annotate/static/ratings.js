// The questions about each response, under its text: a row of answers each, one of them asked by the digits.

import { chip, make } from "./make.js";
import { t } from "./strings.js";

/** Put the questions of `draft` into the cards; `took` hears of each change by mouse. */
export function ask(cards, draft, keys, took) {
  cards.forEach((card, index) => {
    const mine = draft.questions.filter((question) => question.index === index);
    card.querySelector(".tl-questions").replaceChildren(...mine.map((question) => row(question, draft, keys, took)));
  });
}

function row(question, draft, keys, took) {
  const id = `tl-question-${draft.questions.indexOf(question)}`;
  const answers = question.answers.map(({ value, text }, index) => {
    const key = keys.chip(`pick${index + 1}`);
    const said = key === text ? "span.tl-spare" : "span"; // where the chip is shown it says this already
    const button = make("button", { data: { value }, "aria-pressed": "false", "aria-label": text }, chip(key), make(said, {}, text));
    button.addEventListener("click", (event) => {
      draft.answer(question, value, event.shiftKey);
      took();
    });
    return button;
  });
  const ends = [question.low, question.high].map((end) => (end ? make("small", {}, end) : null));
  return make(
    "div.tl-question",
    { role: "group", "aria-labelledby": id, data: { question: draft.questions.indexOf(question) } },
    make("span.tl-asked", { id, dir: "auto" }, question.text),
    make("span.tl-answers", {}, ends[0], ...answers, ends[1]),
  );
}

/** Show what was answered, and which question the digits answer now. */
export function refresh(cards, draft) {
  for (const card of cards) {
    for (const shown of card.querySelectorAll(".tl-question")) {
      const question = draft.questions[Number(shown.dataset.question)];
      const now = question === draft.question;
      if (now && shown.dataset.now !== "true") shown.scrollIntoView({ block: "nearest" });
      shown.dataset.now = now;
      shown.toggleAttribute("aria-current", now);
      for (const button of shown.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(draft.answerOf(question)) === button.dataset.value);
      }
    }
  }
}

/** The question the digits answer now, as a sentence. */
export function asked(question) {
  return t("ask.now", { n: question.index + 1, question: question.text });
}
