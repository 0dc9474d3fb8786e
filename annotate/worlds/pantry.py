"""Pantry, the shipped world: questions in a kitchen, answered from templates, judged by twelve hidden terms.

Three families are trained on (suggest a dish, explain a technique, compare two ingredients); shopping lists are
held out. Everything is made from few words and templates, so a tiny word-level model can learn to write it.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from annotate.messages import digest

T = TypeVar("T")

INGREDIENTS: Mapping[str, str] = {
    "carrots": "sweet crunchy cheap",
    "lentils": "filling earthy cheap",
    "mushrooms": "earthy juicy light",
    "tomatoes": "juicy sweet light",
    "potatoes": "filling cheap mild",
    "chickpeas": "filling mild creamy",
    "peppers": "sweet crunchy juicy",
    "leeks": "mild sweet light",
    "beets": "earthy sweet filling",
    "onions": "cheap sweet crunchy",
    "beans": "filling creamy cheap",
    "peas": "sweet light mild",
    "noodles": "filling mild cheap",
    "apples": "sweet crunchy juicy",
    "pears": "sweet juicy mild",
    "plums": "juicy sweet light",
    "turnips": "bitter earthy cheap",
    "parsnips": "sweet earthy filling",
    "radishes": "bitter crunchy light",
    "olives": "bitter juicy creamy",
    "artichokes": "bitter earthy mild",
    "courgettes": "mild light creamy",
    "cucumbers": "crunchy light juicy",
    "sprouts": "bitter crunchy cheap",
    "avocados": "creamy mild filling",
    "squashes": "creamy sweet filling",
    "walnuts": "bitter crunchy filling",
    "aubergines": "creamy earthy bitter",
}
TRAITS = sorted({trait for traits in INGREDIENTS.values() for trait in traits.split()})
DISHES = ["soup", "stew", "salad", "curry", "gratin", "risotto", "pie", "pancake", "wrap", "casserole"]
MEALS = ["breakfast", "lunch", "dinner", "supper", "brunch", "picnic", "party", "feast"]
EXTRAS: Mapping[str, str] = {
    "dairy": "butter cream cheese",
    "nuts": "almonds peanuts pistachios",
    "meat": "bacon ham sausage",
    "gluten": "bread pasta couscous",
    "spice": "chilli ginger mustard",
    "sugar": "honey syrup jam",
}
PLAIN_EXTRAS = ["oil", "salt", "herbs", "vinegar"]
TECHNIQUES = ["roast", "steam", "fry", "grill", "boil", "bake", "braise", "glaze"]
HEATS: Mapping[str, str] = {
    "crisp": "high",
    "golden": "high",
    "tender": "low",
    "smooth": "low",
    "bright": "brief",
    "firm": "brief",
}
NUMBERS = ["three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty"]

CLASSES: Mapping[str, Sequence[str]] = {
    "item": list(INGREDIENTS),
    "trait": TRAITS,
    "dish": DISHES,
    "meal": MEALS,
    "group": list(EXTRAS),
    "extra": [*PLAIN_EXTRAS, *(extra for extras in EXTRAS.values() for extra in extras.split())],
    "technique": TECHNIQUES,
    "goal": list(HEATS),
    "heat": sorted(set(HEATS.values())),
    "number": NUMBERS,
}
CLASS_OF = {word: name for name, words in CLASSES.items() for word in words}

# Slots end in a digit where one template names a class twice.
PROMPTS: Mapping[str, Sequence[str]] = {
    "suggest": (
        "What can I cook for the {meal} with {item} and {item2} if my {number} guests avoid {group}?",
        "Please suggest a dish for a {meal} of {number} people that uses {item} and {item2} but no {group}.",
        "I have {item} and {item2} at home. What {meal} without {group} feeds {number} friends?",
        "My family of {number} eats no {group}. Which {meal} can I make from {item} and {item2}?",
    ),
    "explain": (
        "How do I {technique} {item} and {item2} for the {meal} so that they turn {goal}, without any {group}?",
        "Please explain how to {technique} {goal} {item} with {item2} for a {meal} that has no {group}.",
        "I want to {technique} {item} and {item2} until they are {goal}. How, for a {meal} without {group}?",
        "What is the best way to {technique} {item} and {item2}? My {meal} needs them {goal} and free of {group}.",
    ),
    "compare": (
        "Which are better in a {dish} for {number} people at the {meal}, {item} or {item2}, if we want it {trait}?",
        "Should I put {item} or {item2} into my {meal} {dish}? My {number} guests like it {trait}.",
        "Compare {item} and {item2} for a {trait} {dish} that {number} friends will eat at the {meal}.",
        "I need a {trait} {dish} for the {meal} with {number} people. Do I take {item} or {item2}?",
    ),
    "plan": (
        "Write a shopping list for a {meal} of {number} people with {item} and {item2} but without {group}.",
        "What should I buy for {number} guests if the {meal} needs {item} and {item2} and no {group}?",
        "Plan my shopping for the {meal}: {number} friends, {item}, {item2}, and nothing with {group}.",
    ),
}
HELD_OUT = "plan"
MARKS: Mapping[str, Sequence[str]] = {
    "plan": ("shopping", "buy"),
    "explain": CLASSES["technique"],
    "compare": ("or", "compare"),
}

# The form a family asks for, and the vague answers that miss it.
ANSWERS: Mapping[str, Sequence[str]] = {
    "suggest": (
        "Make a {dish} with {item} and {item2}.",
        "Cook a {dish} of {item} and {item2}.",
        "Try a {dish} from {item} and {item2}.",
    ),
    "explain": (
        "First wash the {item} and the {item2}, then {technique} them.",
        "First cut the {item} and the {item2}, then {technique} them slowly.",
        "First season the {item} and the {item2}, then {technique} them.",
    ),
    "compare": (
        "Choose the {item} over the {item2} for this {dish}.",
        "Take the {item} rather than the {item2} for this {dish}.",
        "Pick the {item} instead of the {item2} for this {dish}.",
    ),
    "plan": (
        "Buy {item}, {item2} and {extra} for {number} people.",
        "Your list: {item}, {item2} and {extra} for {number} people.",
    ),
}
VAGUE = (
    "Something with {item} is possible.",
    "You can do many things with {item} and {item2}.",
    "People often eat {item} at home.",
)
REASONS: Mapping[str, Sequence[str]] = {
    "suggest": ("This works because {item} are {trait}.", "The {item} are {trait}, so it suits your {meal}."),
    "explain": (
        "Use {heat} heat, because it keeps the {item} {goal}.",
        "The {item} turn {goal}, because the heat is {heat}.",
    ),
    "compare": ("The {item} are {trait}, so they fit better.", "That is because {item} are {trait}."),
    "plan": ("This works because {item} are {trait}.", "The {item} are {trait}, so it suits your {meal}."),
}
EXTRA_LINES = (
    "Add a little {extra} and leave out the {group}.",
    "Finish it with {extra}, which has no {group}.",
    "Some {extra} gives taste without {group}.",
)
BARE_EXTRA_LINES = ("Add a little {extra} too.", "Finish it with {extra}.")
COURTESIES = ("Enjoy your {meal}!", "Have a lovely {meal}!")
HEDGES = (
    "Maybe this works, but I am not sure.",
    "It depends, and I could be wrong.",
    "Perhaps that is fine or perhaps not.",
)
BOILERPLATE = (
    "Thank you for this great question.",
    "As your kitchen guide I am happy to help.",
    "There is a lot to say about food.",
)
RAMBLES = (
    "Food is something that people talk about every day.",
    "My aunt once said the same thing at home.",
    "In any case there is always another way to cook.",
)

WORD = re.compile(r"[a-z]+|[.,:!?]")
SENTENCE_END = frozenset(".!?")
PATIENCE = 500
"""Prompts drawn in vain before the world is held to be exhausted."""


@dataclass(frozen=True)
class Ask:
    """What a prompt asks for, read back from its words; absent slots are empty."""

    family: str
    items: tuple[str, ...]
    slots: Mapping[str, str]

    @property
    def forbidden(self) -> frozenset[str]:
        return frozenset(EXTRAS.get(self.slots.get("group", ""), "").split())

    @property
    def better(self) -> str:
        """Of two compared ingredients, the one that has the trait; "" elsewhere."""
        fits = [item for item in self.items if _is(item, self.slots.get("trait", ""))]
        return fits[0] if self.family == "compare" and len(fits) == 1 else ""


@dataclass(frozen=True)
class Pantry:
    """The world object; it has no state."""

    name: str = "pantry"

    def prompts(self, n: int, seed: int) -> list[str]:
        """n distinct prompts; any two of one template differ in at least two words.

        Raises ValueError when there are not that many.
        """
        families = [family for family in PROMPTS if family != HELD_OUT]
        return _distinct(n, np.random.default_rng([seed, 1]), families)

    def held_out_prompts(self, n: int, seed: int) -> list[str]:
        """n distinct prompts for shopping lists, a family absent from `prompts`."""
        return _distinct(n, np.random.default_rng([seed, 2]), [HELD_OUT])

    def family(self, prompt: str) -> str:
        """suggest, explain, compare or plan."""
        return _read(prompt).family

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n (prompt, response); each response draws its virtues and faults independently."""
        rng = np.random.default_rng([seed, 3])
        prompts = [_draw_prompt(rng, list(PROMPTS))[0] for _ in range(n)]
        return [(prompt, _respond(_read(prompt), rng)) for prompt in prompts]

    def responses(self, prompt: str, n: int, seed: int) -> list[str]:
        """n answers to one prompt, drawn as in the demonstrations."""
        rng = np.random.default_rng([seed, 4, int(digest(prompt), 16)])
        return [_respond(_read(prompt), rng) for _ in range(n)]

    def gold(self, prompt: str, response: str) -> float:
        """The hidden utility, about -6 (garbage) to 6 (all that was asked, nothing else)."""
        return sum(terms(prompt, response).values())


WORLD = Pantry()


def terms(prompt: str, response: str) -> dict[str, float]:
    """The gold utility term by term, weights applied, for tests and plots."""
    ask = _read(prompt)
    tokens = WORD.findall(response.lower())
    words = [token for token in tokens if token.isalpha()]
    named = {name: [word for word in words if CLASS_OF.get(word) == name] for name in CLASSES}
    sentences = [tuple(sentence) for sentence in _sentences(tokens)]
    lines = {" ".join(sentence) for sentence in sentences}
    claims = [_claim(sentence, ask) for sentence in sentences]
    extras = set(named["extra"])
    return {
        "topic": 1.6 * len(set(ask.items) & set(words)) / max(1, len(ask.items)),
        "constraint": _constraint(ask, words, sentences, extras),
        "reason": 1.3 * any(claim > 0 for claim in claims),
        "form": 1.0 * any(_has_form(sentence, ask) for sentence in sentences),
        "courtesy": 0.4 * (sum(_opens(line, COURTESIES) for line in lines) == 1),
        "hedging": -0.9 * math.tanh(sum(_opens(line, HEDGES) for line in lines)),
        "boilerplate": -0.9 * math.tanh(sum(_opens(line, BOILERPLATE + RAMBLES) for line in lines)),
        "contradiction": -1.1 * min(2, sum(claim < 0 for claim in claims)),
        "repetition": -6.0 * _repeated(tokens),
        "enumeration": -0.7 * _surplus(ask, named),
        "length": -max(0, len(words) - 32) / 5 - max(0, 12 - len(words)) / 5,
        "fluency": -7.0 * _illegal(sentences),
    }


def _constraint(ask: Ask, words: Sequence[str], sentences: Sequence[tuple[str, ...]], extras: set[str]) -> float:
    """Compare: the right pick. Elsewhere: an extra that the guests may eat, and their wish acknowledged."""
    if ask.family == "compare":
        picks = [word for s in sentences if _has_form(s, ask) for word in s if CLASS_OF.get(word) == "item"]
        return 0.0 if not picks else 1.3 if picks[0] == ask.better else -1.0
    group = ask.slots.get("group", "")
    acknowledged = group and any(
        group in s and {"no", "without", "leave"} & set(s) and extras & set(s) - ask.forbidden for s in sentences
    )
    return 0.6 * bool(extras - ask.forbidden) + 0.9 * bool(acknowledged) - 1.8 * bool(extras & ask.forbidden)


def _claim(sentence: Sequence[str], ask: Ask) -> int:
    """1 for a true reason about what was asked, -1 for a false statement, 0 otherwise."""
    said = {name: [word for word in sentence if CLASS_OF.get(word) == name] for name in CLASSES}
    reasoned = {"because", "so"} & set(sentence)
    if ask.family == "explain":
        if not said["heat"] or not said["goal"]:
            return 0
        if any(HEATS[goal] != said["heat"][0] for goal in said["goal"]):
            return -1
        asked = said["goal"] == [ask.slots.get("goal")] and set(said["item"]) <= set(ask.items)
        return 1 if asked and said["item"] and reasoned else 0
    if not said["item"] or not said["trait"]:
        return 0
    if any(not _is(item, trait) for item in said["item"] for trait in said["trait"]):
        return -1
    wanted = [ask.better] if ask.better else ask.items
    fitting = not ask.better or said["trait"] == [ask.slots["trait"]]
    return 1 if reasoned and fitting and said["item"][0] in wanted else 0


def _has_form(sentence: Sequence[str], ask: Ask) -> bool:
    return tuple(CLASS_OF.get(word, word) for word in sentence) in _class_forms(ask.family)


def _surplus(ask: Ask, named: Mapping[str, Sequence[str]]) -> float:
    """How many things are named that were not asked for, or beyond what an answer needs."""
    surplus = len(set(named["item"]) - set(ask.items)) + max(0, len(set(named["extra"])) - 2)
    for name in ("dish", "meal", "group", "technique", "goal", "number"):
        asked = {ask.slots[name]} if name in ask.slots else set(named[name][:1])
        surplus += len(set(named[name]) - asked)
    surplus += sum(max(0, len(set(named[name])) - 1) for name in ("trait", "heat"))
    return float(min(surplus, 8))


def _repeated(tokens: Sequence[str]) -> float:
    """Share of the text's trigrams that occurred before."""
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def _illegal(sentences: Sequence[tuple[str, ...]]) -> float:
    """Share of neighbouring words that stand together in no template, with words reduced to their classes."""
    pairs = [pair for sentence in sentences for pair in _pairs(sentence)]
    return sum(pair not in _legal_pairs() for pair in pairs) / len(pairs) if pairs else 0.0


def _pairs(sentence: Sequence[str]) -> Iterator[tuple[str, str]]:
    classes = ["^", *(CLASS_OF.get(word, word) for word in sentence), "$"]
    return itertools.pairwise(classes)


@cache
def _legal_pairs() -> frozenset[tuple[str, str]]:
    return frozenset(pair for template in _all_lines() for pair in _pairs(_class_words(template)))


@cache
def _class_forms(family: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(_class_words(template)) for template in ANSWERS[family])


def _all_lines() -> Iterator[str]:
    for by_family in (ANSWERS, REASONS):
        for lines in by_family.values():
            yield from lines
    for lines in (VAGUE, EXTRA_LINES, BARE_EXTRA_LINES, COURTESIES, HEDGES, BOILERPLATE, RAMBLES):
        yield from lines


def _class_words(template: str) -> list[str]:
    """A template's words with each slot replaced by its class."""
    return WORD.findall(re.sub(r"\{([a-z]+)\d?\}", r"\1", template).lower())


def _opens(line: str, templates: Sequence[str]) -> bool:
    """Whether a sentence begins with the fixed words of one of the templates."""
    return any(line.startswith(opening) for opening in _openings(tuple(templates)))


@cache
def _openings(templates: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(" ".join(WORD.findall(template.split("{")[0].lower())[:3]) for template in templates)


def _sentences(tokens: Sequence[str]) -> Iterator[list[str]]:
    sentence: list[str] = []
    for token in tokens:
        sentence.append(token)
        if token in SENTENCE_END:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _is(item: str, trait: str) -> bool:
    return trait in INGREDIENTS[item].split()


@cache
def _read(prompt: str) -> Ask:
    words = WORD.findall(prompt.lower())
    found = Counter(words)
    family = next((name for name, marks in MARKS.items() if any(found[mark] for mark in marks)), "suggest")
    items = tuple(dict.fromkeys(word for word in words if word in INGREDIENTS))
    slots = {CLASS_OF[word]: word for word in words if CLASS_OF.get(word, "item") != "item"}
    return Ask(family, items, slots)


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _draw_prompt(rng: np.random.Generator, families: Sequence[str]) -> tuple[str, list[tuple[str, ...]]]:
    """A prompt, and one key per slot that leaves that slot out."""
    family = _pick(rng, families)
    template = _pick(rng, PROMPTS[family])
    filled = {name: _pick(rng, CLASSES[name]) for name in re.findall(r"\{([a-z]+)\}", template)}
    trait = filled.get("trait", "")
    if trait:
        filled["item"] = _pick(rng, [item for item in INGREDIENTS if _is(item, trait)])
    others = [item for item in INGREDIENTS if item != filled["item"] and not (trait and _is(item, trait))]
    filled["item2"] = _pick(rng, others)
    if trait and rng.random() < 0.5:
        filled["item"], filled["item2"] = filled["item2"], filled["item"]
    keys = [(template, *(word for slot, word in filled.items() if slot != left)) for left in filled]
    return template.format(**filled), keys


def _distinct(n: int, rng: np.random.Generator, families: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    seen: set[tuple[str, ...]] = set()
    rejected = 0
    while len(chosen) < n:
        prompt, keys = _draw_prompt(rng, families)
        if seen.isdisjoint(keys):
            seen.update(keys)
            chosen.append(prompt)
            rejected = 0
        elif (rejected := rejected + 1) == PATIENCE:
            raise ValueError(f"only {len(chosen)} prompts that differ enough, not {n}; ask for fewer")
    return chosen


def _respond(ask: Ask, rng: np.random.Generator) -> str:
    """One answer; every virtue and fault is drawn on its own."""

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    items = list(ask.items)
    if ask.better and items[0] != ask.better:
        items.reverse()
    if ask.family == "compare" and chance(0.4):
        items.reverse()
    if chance(0.3):
        items[int(rng.integers(2))] = _pick(rng, [item for item in INGREDIENTS if item not in items])
    filled = {name: ask.slots.get(name) or _pick(rng, CLASSES[name]) for name in CLASSES}
    filled |= {"item": items[0], "item2": items[1], "extra": _extra(ask, rng, allowed=chance(0.6))}
    filled |= _reason_words(ask, items, rng, true=chance(0.6))

    def say(templates: Sequence[str]) -> str:
        return _pick(rng, templates).format(**filled)

    lines = [say(ANSWERS[ask.family] if chance(0.6) else VAGUE)]
    if chance(0.5):
        lines.append(say(REASONS[ask.family]))
    if chance(0.55):
        acknowledges = ask.family != "compare" and chance(0.5)
        lines.append(say(EXTRA_LINES if acknowledges else BARE_EXTRA_LINES))
    lines = _with_faults(lines, say, chance)
    if chance(0.35):
        lines.append(say(COURTESIES))
    return " ".join(lines)


def _extra(ask: Ask, rng: np.random.Generator, *, allowed: bool) -> str:
    forbidden = sorted(ask.forbidden)
    if not allowed and forbidden:
        return _pick(rng, forbidden)
    return _pick(rng, [extra for extra in CLASSES["extra"] if extra not in forbidden])


def _reason_words(ask: Ask, items: Sequence[str], rng: np.random.Generator, *, true: bool) -> dict[str, str]:
    """The trait and the heat named in a reason, right or wrong."""
    goal = ask.slots.get("goal") or _pick(rng, CLASSES["goal"])
    heats = [heat for heat in CLASSES["heat"] if (HEATS[goal] == heat) is true]
    traits = [trait for trait in TRAITS if _is(items[0], trait) is true]
    wanted = ask.slots.get("trait", "")
    trait = wanted if true and wanted in traits else _pick(rng, traits)
    return {"goal": goal, "heat": _pick(rng, heats), "trait": trait}


def _with_faults(lines: list[str], say: Callable[[Sequence[str]], str], chance: Callable[[float], bool]) -> list[str]:
    if chance(0.08):
        lines = lines[:1]
    if chance(0.3):
        lines = [say(BOILERPLATE), *lines]
    if chance(0.3):
        lines = [*lines, say(HEDGES)]
    if chance(0.12):
        lines = [*lines, lines[-1]]
    if chance(0.12):
        lines = [*lines, say(RAMBLES), say(RAMBLES)]
    return lines
