// The words of the page, in the language chosen: strings/<locale>.js, English where one is missing.
// What is said when is the other modules' business; nothing that annotators read is written outside strings/.

import english from "./strings/en.js";

export const LOCALES = { en: "English", ar: "العربية" };

let words = english;
let plural = new Intl.PluralRules("en");

/** Speak `locale` from now on; an unknown one means the browser's own language when it is here, else English. */
export async function speak(locale) {
  const own = navigator.language.split("-")[0];
  const chosen = [locale, own].find((each) => Object.hasOwn(LOCALES, each)) ?? "en";
  words = chosen === "en" ? english : (await import(`./strings/${chosen}.js`)).default;
  plural = new Intl.PluralRules(chosen);
  document.documentElement.lang = chosen;
  document.documentElement.dir = words.direction;
}

/** The sentence under `key`, with {names} filled in; one that counts has a form for each number, picked by {n}. */
export function t(key, values = {}) {
  const found = words[key] ?? english[key] ?? key;
  const sentence = typeof found === "string" ? found : (found[plural.select(values.n)] ?? found.other);
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Put the words into everything under `root` that names its own: data-t is its text, data-t-label its aria-label. */
export function translate(root) {
  root.dir = words.direction; // not inherited: what lies between may say otherwise
  for (const each of root.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", t(each.dataset.tLabel));
}
