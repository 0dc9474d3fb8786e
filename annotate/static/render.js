// A rendered view of a text: a small part of Markdown as elements, made one by one. No HTML of the text is ever read,
// nothing is fetched, no link can be followed: its target is written out. What is not known stays as it was written.

import { make } from "./make.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const CELLS = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // quotes and lists inside one another; deeper ones stay text

/** The text as elements. */
export function render(text) {
  const into = document.createDocumentFragment();
  blocks(text.replace(/\r\n?/g, "\n").split("\n"), into, 0);
  return into;
}

function blocks(lines, into, depth) {
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (!line.trim()) at += 1;
    else if (fence) at = fenced(lines, at, fence, into);
    else if (/^\s*(\$\$|\\\[)/.test(line)) at = formula(lines, at, into);
    else if (HEADING.test(line)) {
      const [, marks, title] = HEADING.exec(line);
      // The page's own headings are h1 and h2.
      into.append(make(`h${Math.min(6, marks.length + 2)}`, { dir: "auto" }, ...inline(title)));
      at += 1;
    } else if (RULE.test(line)) {
      into.append(make("hr"));
      at += 1;
    } else if (QUOTE.test(line) && depth < DEEPEST) {
      const end = upTo(lines, at, (each) => !QUOTE.test(each));
      const quote = make("blockquote", { dir: "auto" });
      blocks(lines.slice(at, end).map((each) => QUOTE.exec(each)[1]), quote, depth + 1);
      into.append(quote);
      at = end;
    } else if (ITEM.test(line) && depth < DEEPEST) at = list(lines, at, into, depth);
    else if (line.includes("|") && CELLS.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) at = table(lines, at, into);
    else {
      const end = upTo(lines, at + 1, (each, index) => !each.trim() || starts(each, lines[index + 1]));
      into.append(make("p", { dir: "auto" }, ...inline(lines.slice(at, end).join("\n"))));
      at = end;
    }
  }
}

function starts(line, next = "") {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line) ||
    /^\s*(\$\$|\\\[)/.test(line) || (line.includes("|") && next.includes("-") && CELLS.test(next));
}

function upTo(lines, from, ends) {
  let at = from;
  while (at < lines.length && !ends(lines[at], at)) at += 1;
  return at;
}

function fenced(lines, at, [, marks, language], into) {
  const end = upTo(lines, at + 1, (each) => new RegExp(`^ {0,3}${marks[0]}{${marks.length},}\\s*$`).test(each));
  const code = lines.slice(at + 1, end).join("\n");
  into.append(make("pre", { tabIndex: 0, dir: "ltr", data: { language } }, make("code", {}, code)));
  return end + 1;
}

function formula(lines, at, into) {
  const close = lines[at].trim().startsWith("$$") ? "$$" : "\\]";
  const rest = lines[at].trim().slice(2);
  const end = rest.includes(close) ? at : upTo(lines, at + 1, (each) => each.includes(close));
  const text = lines.slice(at, end + 1).join("\n").trim();
  into.append(make("div.tl-math", { dir: "ltr" }, text.slice(2).replace(close, "").trim()));
  return end + 1;
}

function list(lines, at, into, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const box = make(ordered ? "ol" : "ul", { dir: "auto" });
  if (ordered) box.start = Number.parseInt(mark);
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length < indent.length || (item[1].length === indent.length && /\d/.test(item[2]) !== ordered)) break;
    const inside = item[1].length + item[2].length + 1;
    const end = upTo(lines, at + 1, (each, index) => {
      const deeper = /^ */.exec(each)[0].length > item[1].length;
      const blank = !each.trim();
      return !deeper && (blank ? !/^ +\S/.test(lines[index + 1] ?? "") : ITEM.test(each) || starts(each) || !lines[index - 1].trim());
    });
    const body = [item[3], ...lines.slice(at + 1, end).map((each) => each.replace(new RegExp(`^ {0,${inside}}`), ""))];
    const shown = make("li", { dir: "auto" });
    if (body.length === 1) shown.append(...inline(body[0]));
    else blocks(body, shown, depth + 1);
    box.append(shown);
    at = end;
    if (!lines[at]?.trim() && ITEM.exec(lines[at + 1] ?? "")?.[1].length === indent.length) at += 1;
  }
  into.append(box);
  return at;
}

function table(lines, at, into) {
  const end = upTo(lines, at + 2, (each) => !each.includes("|"));
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  const row = (line, tag) => make("tr", {}, ...cells(line).map((cell) => make(tag, { dir: "auto" }, ...inline(cell))));
  const body = lines.slice(at + 2, end).map((line) => row(line, "td"));
  into.append(make("div.tl-wide", { tabIndex: 0 }, make("table", {}, make("thead", {}, row(lines[at], "th")), make("tbody", {}, ...body))));
  return end;
}

const INLINE = [
  [/^\\([\\`*_{}[\]()#+\-.!|~>$])/, ([, sign]) => sign],
  [/^(`+)(?!`)([^]*?[^`])\1(?!`)/, ([, , code]) => make("code", { dir: "ltr" }, code.replace(/^ (.*[^ ].*) $/, "$1"))],
  [/^\\\(([^]+?)\\\)/, ([, source]) => make("span.tl-math", { dir: "ltr" }, source)],
  [/^\$(?![\s$])([^$\n]*[^\s$])\$(?!\d)/, ([, source]) => make("span.tl-math", { dir: "ltr" }, source)],
  [/^!\[([^\]]*)\]\(([^)]*)\)/, ([, text, target]) => link(`🖼 ${text}`, target)],
  [/^\[([^\]]+)\]\(([^)]*)\)/, ([, text, target]) => link(text, target)],
  [/^(\*\*|__)(?=\S)([^]*?\S)\1/, ([, , text]) => make("strong", {}, ...inline(text))],
  [/^~~(?=\S)([^]*?\S)~~/, ([, text]) => make("del", {}, ...inline(text))],
  [/^\*(?=[^\s*])([^*]*[^\s*])\*(?!\*)/, ([, text]) => make("em", {}, ...inline(text))],
  [/^_(?=[^\s_])([^_]*[^\s_])_(?![\p{L}\p{N}_])/u, ([, text]) => make("em", {}, ...inline(text))],
  [/^( {2,}|\\)\n/, () => make("br")],
];

function link(text, target) {
  return make("span.tl-link", {}, text, make("span.tl-target", { dir: "ltr" }, ` (${target})`));
}

/** Text with its emphasis, code, formulas and links as nodes. */
function inline(text) {
  const nodes = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const next = text.slice(at).search(/[\\`$![*_~]| {2,}\n/);
    if (next < 0) break;
    plain += text.slice(at, at + next);
    at += next;
    const rest = text.slice(at);
    const inWord = text[at] === "_" && /[\p{L}\p{N}]$/u.test(plain);
    const rule = inWord ? null : INLINE.map(([pattern, shown]) => [pattern.exec(rest), shown]).find(([found]) => found);
    if (rule) {
      const shown = rule[1](rule[0]);
      if (typeof shown === "string") plain += shown;
      else {
        if (plain) nodes.push(plain);
        nodes.push(shown);
        plain = "";
      }
      at += rule[0][0].length;
    } else {
      plain += text[at];
      at += 1;
    }
  }
  plain += text.slice(at);
  return plain ? [...nodes, plain] : nodes;
}
