"""Travel, a world that no recipe was tuned on: a railway desk that likes short answers with a question back.

Its utility is a product (what is said, times how briefly, times how fluently) less fines, in points of a hundred;
families, words, templates and taste are all unlike the shipped world's. Notices are the held-out family.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

TOWNS: Mapping[str, tuple[str, str]] = {
    "Arden": ("castles", "walking"),
    "Belmora": ("beaches", "music"),
    "Corvane": ("museums", "music"),
    "Dunmere": ("walking", "fishing"),
    "Estholm": ("beaches", "fishing"),
    "Farrow": ("markets", "castles"),
    "Glenvik": ("skiing", "walking"),
    "Harlow": ("museums", "markets"),
    "Isenau": ("skiing", "castles"),
    "Jorvan": ("music", "markets"),
    "Kelmont": ("castles", "museums"),
    "Lorne": ("fishing", "beaches"),
    "Marisk": ("markets", "beaches"),
    "Northam": ("walking", "museums"),
    "Ostrava": ("music", "museums"),
    "Pelham": ("fishing", "walking"),
    "Quarry": ("skiing", "music"),
    "Rosling": ("markets", "skiing"),
    "Selkirk": ("castles", "fishing"),
    "Tarnby": ("beaches", "markets"),
    "Ulmen": ("museums", "skiing"),
    "Verdal": ("walking", "castles"),
}
CARRIED: Mapping[str, tuple[str, str]] = {
    "bicycle": ("train", "ferry"),
    "dog": ("train", "tram"),
    "pram": ("tram", "bus"),
    "wheelchair": ("train", "bus"),
    "sledge": ("bus", "ferry"),
    "harp": ("ferry", "coach"),
    "canoe": ("coach", "bus"),
    "telescope": ("coach", "tram"),
}
REMEDIES: Mapping[str, str] = {
    "late": "voucher",
    "cancelled": "refund",
    "dirty": "discount",
    "crowded": "reservation",
    "cold": "blanket",
    "noisy": "cabin",
}
HOURS = ("five", "six", "seven", "eight", "nine", "ten", "eleven", "noon")
WORDS: Mapping[str, Sequence[str]] = {
    "town": tuple(TOWNS),
    "mode": ("train", "ferry", "tram", "bus", "coach"),
    "thing": tuple(CARRIED),
    "fault": tuple(REMEDIES),
    "remedy": tuple(REMEDIES.values()),
    "hour": HOURS,
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "season": ("spring", "summer", "autumn", "winter"),
    "hobby": ("castles", "walking", "beaches", "music", "museums", "fishing", "markets", "skiing"),
    "friend": ("brother", "mother", "husband", "daughter", "cousin", "neighbour"),
    "stay": ("weekend", "week", "fortnight", "month", "holiday", "getaway"),
}
KIND_OF = {word.lower(): kind for kind, words in WORDS.items() for word in words}

QUESTIONS: Mapping[str, Sequence[str]] = {
    "route": (
        "How do I get from {town} to {town2} with a {thing} on {day} if I leave before {hour}?",
        "On {day} I carry a {thing} from {town} to {town2}. What leaves before {hour}?",
        "Can somebody with a {thing} go to {town2} from {town} on {day} and be off before {hour}?",
    ),
    "complaint": (
        "Your {mode} from {town} to {town2} was {fault} on {day}. What do I get as a {friend} of five?",
        "On {day} my {friend} took a {fault} {mode} to {town2} out of {town}. What will you do about it?",
        "I write about the {day} {mode}: it was {fault} from {town} up to {town2} and my {friend} is angry.",
    ),
    "place": (
        "Is {town} worth a {stay} in {season} if my {friend} loves {hobby} and comes from {town2}?",
        "My {friend} in {town2} dreams of {hobby}. Would {town} be right for a {season} {stay}?",
        "We leave {town2} for a {stay} of {hobby} this {season}. Does {town} please my {friend}?",
    ),
    "notice": (
        "Write a notice: the {day} {mode} between {town} and {town2} is {fault}, and it left at {hour}.",
        "Our screens must tell passengers that on {day} the {hour} {mode} from {town} to {town2} is {fault}.",
    ),
}
HELD_OUT = "notice"
CORE: Mapping[str, tuple[str, ...]] = {
    "route": ("Take the {mode} from {town} to {town2}.", "A {mode} goes from {town} to {town2} on {day}."),
    "complaint": (
        "We regret that the {mode} to {town2} was {fault}.",
        "A {fault} {mode} from {town} should not happen.",
    ),
    "yes": ("Yes, {town} is known for {hobby}.", "Yes, in {season} {town} is fine for {hobby}."),
    "no": ("No, {town} has hardly any {hobby}.", "No, {hobby} is not what {town} offers."),
    "notice": ("Notice: the {mode} from {town} to {town2} is {fault}.", "The {day} {mode} to {town2} is {fault}."),
}
DETAIL: Mapping[str, Sequence[str]] = {
    "route": ("It leaves at {hour} and takes a {thing}.", "With a {thing} board at {hour}."),
    "complaint": ("You receive a {remedy} by {day}.", "We offer you a {remedy}."),
    "place": ("Stay a {stay} with your {friend}.", "Your {friend} could fill a {stay} there."),
    "notice": ("Passengers receive a {remedy}.", "Ask the desk for a {remedy}."),
}
ASK_BACK = ("Shall I book it?", "Do you need a ticket?", "Would a window seat help?", "May I reserve two seats?")
LOOSE = ("Many people travel these days.", "Our desk knows {town} quite well.", "Look at a map of {town}.")
GUSHING = ("What a wonderful idea!", "We simply adore {town}!", "How very exciting this is!")
SMALL_PRINT = (
    "All journeys are subject to our general terms and conditions.",
    "Please note that rules may change at any time without warning.",
)
CHATTER = ("By the way my uncle once walked there in the rain.", "The weather has been strange all year.")
GROVEL = ("We are so terribly sorry about everything.", "Please forgive us again and again.")

TOKEN = re.compile(r"[a-z]+|[.,:!?]")


@dataclass(frozen=True)
class Request:
    """A prompt read back: its family, its towns in the order (from, to) or (about, home), and one word a kind."""

    family: str
    towns: tuple[str, str]
    said: Mapping[str, str]

    def fits(self, kind: str, word: str) -> bool:
        """Whether a word of that kind is what this request needs."""
        if kind == "mode":
            return word in CARRIED[self.said["thing"]] if "thing" in self.said else word == self.said["mode"]
        if kind == "remedy":
            return word == REMEDIES[self.said["fault"]]
        if kind == "hour" and self.family == "route":
            return HOURS.index(word) < HOURS.index(self.said["hour"])
        return word == self.said.get(kind, word)

    @property
    def true_answer(self) -> str:
        return "yes" if self.said.get("hobby") in TOWNS[self.towns[0]] else "no"


@dataclass(frozen=True)
class Travel:
    """The world object; it has no state."""

    name: str = "travel"

    def prompts(self, n: int, seed: int) -> list[str]:
        return _unlike(n, np.random.default_rng([seed, 11]), [f for f in QUESTIONS if f != HELD_OUT])

    def held_out_prompts(self, n: int, seed: int) -> list[str]:
        return _unlike(n, np.random.default_rng([seed, 12]), [HELD_OUT])

    def family(self, prompt: str) -> str:
        return _read(prompt).family

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng([seed, 13])
        prompts = [_ask(rng, list(QUESTIONS))[0] for _ in range(n)]
        return [(prompt, _reply(_read(prompt), rng)) for prompt in prompts]

    def responses(self, prompt: str, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng([seed, 14, *prompt.encode()])
        return [_reply(_read(prompt), rng) for _ in range(n)]

    def gold(self, prompt: str, response: str) -> float:
        """Points, about -100 (garbage) to 100 (right, brief, asks back)."""
        request = _read(prompt)
        tokens = TOKEN.findall(response.lower())
        lines = _lines(tokens)
        length = sum(token.isalpha() for token in tokens)
        brevity = math.exp(-((max(0, length - 24) / 9) ** 2)) * min(1.0, length / 8)
        fluency = max(0.0, 1 - 2.5 * _odd_share(lines))
        return 100 * _content(request, tokens, lines) * brevity * fluency - _fines(request, tokens, lines, length)


WORLD = Travel()


def _content(request: Request, tokens: Sequence[str], lines: Sequence[tuple[str, ...]]) -> float:
    """What is said, 0 to 1."""
    core = CORE["yes"] + CORE["no"] if request.family == "place" else CORE[request.family]
    asked = lines[-1][-1:] == ("?",) if lines else False
    towns = {town.lower() for town in request.towns[: 1 if request.family == "place" else 2]}
    return (
        0.2 * len(towns & set(tokens)) / len(towns)
        + 0.2 * any(_shape(line) in _shapes(tuple(core)) for line in lines)
        + 0.25 * (_verdict(request, tokens) > 0)
        + 0.15 * any(_shape(line) in _shapes(tuple(DETAIL[request.family])) for line in lines)
        + 0.2 * (asked and sum(token == "?" for token in tokens) == 1)
    )


def _verdict(request: Request, tokens: Sequence[str]) -> int:
    """1 when what matters in this family is right, -1 when anything said is wrong, 0 when it is not said."""
    if request.family == "place":
        answers = [token for token in tokens if token in ("yes", "no")]
        beside = any(KIND_OF.get(t) == "hobby" and not request.fits("hobby", t) for t in tokens)
        return 0 if not answers else 1 if set(answers) == {request.true_answer} and not beside else -1
    key = "mode" if request.family == "route" else "remedy"
    checked = ("mode", "hour", "thing") if request.family == "route" else ("mode", "remedy", "fault")
    wrong = any(KIND_OF.get(t) in checked and not request.fits(KIND_OF[t], t) for t in tokens)
    return -1 if wrong else int(any(KIND_OF.get(token) == key for token in tokens))


def _fines(request: Request, tokens: Sequence[str], lines: Sequence[tuple[str, ...]], length: int) -> float:
    def count(templates: Sequence[str]) -> int:
        return sum(_shape(line) in _shapes(tuple(templates)) for line in lines)

    kinds: dict[str, set[str]] = {}
    for token in tokens:
        kinds.setdefault(KIND_OF.get(token, ""), set()).add(token)
    strange = len(kinds.get("town", set()) - {town.lower() for town in request.towns})
    surplus = sum(max(0, len(words) - 1) for kind, words in kinds.items() if kind not in ("", "town"))
    triples = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    repeated = 1 - len(set(triples)) / len(triples) if triples else 0.0
    groveling = count(GROVEL) + (request.family != "complaint" and "regret" in tokens)
    return (
        25 * (_verdict(request, tokens) < 0)
        + 18 * math.tanh(0.8 * count(GUSHING))
        + 15 * math.tanh(count(SMALL_PRINT))
        + 12 * math.tanh(count(CHATTER))
        + 15 * math.tanh(groveling)
        + 9 * min(8, strange + surplus)
        + 120 * repeated
        + 60 * min(1.0, 1.5 * _odd_share(lines))
        + 25 * (length < 4)
    )


def _lines(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    marks = [i + 1 for i, token in enumerate(tokens) if token in ".!?"]
    starts = [0, *marks]
    return [tuple(tokens[a:b]) for a, b in pairwise([*starts, len(tokens)]) if b > a]


def _shape(line: Sequence[str]) -> tuple[str, ...]:
    return tuple(KIND_OF.get(word, word) for word in line)


def _template_shape(template: str) -> tuple[str, ...]:
    return tuple(TOKEN.findall(re.sub(r"\{([a-z]+)2?\}", r"\1", template).lower()))


@cache
def _shapes(templates: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(map(_template_shape, templates))


@cache
def _known_pairs() -> frozenset[tuple[str, str]]:
    groups = [*CORE.values(), *DETAIL.values(), ASK_BACK, LOOSE, GUSHING, SMALL_PRINT, CHATTER, GROVEL]
    shapes = [_template_shape(template) for group in groups for template in group]
    return frozenset(pair for shape in shapes for pair in pairwise(("<", *shape, ">")))


def _odd_share(lines: Sequence[tuple[str, ...]]) -> float:
    """Share of neighbours that no template puts side by side."""
    pairs = [pair for line in lines for pair in pairwise(("<", *_shape(line), ">"))]
    return sum(pair not in _known_pairs() for pair in pairs) / len(pairs) if pairs else 0.0


@cache
def _read(prompt: str) -> Request:
    for family, pattern in _patterns():
        if match := pattern.fullmatch(" ".join(prompt.split())):
            said = match.groupdict()
            towns = (said.pop("town"), said.pop("town2"))
            return Request(family, towns, {kind: word.lower() for kind, word in said.items()})
    raise ValueError(f"not a question of this desk: {prompt!r}")


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (family, re.compile(re.sub(r"\\{([a-z]+2?)\\}", r"(?P<\1>[A-Za-z]+)", re.escape(template))))
        for family, templates in QUESTIONS.items()
        for template in templates
    )


def _ask(rng: np.random.Generator, families: Sequence[str]) -> tuple[str, list[tuple[str, ...]]]:
    """A prompt, and one key per slot that leaves the slot out."""
    family = _one(rng, families)
    template = _one(rng, QUESTIONS[family])
    said = {kind: _one(rng, words) for kind, words in WORDS.items() if f"{{{kind}}}" in template}
    said["town2"] = _one(rng, [town for town in TOWNS if town != said["town"]])
    if family == "route":
        said["hour"] = _one(rng, HOURS[2:])
    if family == "place" and rng.random() < 0.55:
        said["hobby"] = _one(rng, TOWNS[said["town"]])
    return template.format(**said), [(template, *(w for k, w in said.items() if k != left)) for left in said]


def _unlike(n: int, rng: np.random.Generator, families: Sequence[str]) -> list[str]:
    kept: list[str] = []
    taken: set[tuple[str, ...]] = set()
    in_vain = 0
    while len(kept) < n:
        prompt, keys = _ask(rng, families)
        in_vain = 0 if taken.isdisjoint(keys) else in_vain + 1
        if in_vain > 500:
            raise ValueError(f"only {len(kept)} prompts unlike each other, not {n}")
        if not in_vain:
            taken.update(keys)
            kept.append(prompt)
    return kept


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _reply(request: Request, rng: np.random.Generator) -> str:
    """One reply with virtues and faults drawn each on its own."""
    right, lucky = rng.random(2) < (0.6, 0.75)
    filled = {kind: _one(rng, words) for kind, words in WORDS.items()} | dict(request.said)
    if request.family == "route" and right:
        filled["hour"] = _one(rng, [hour for hour in HOURS if request.fits("hour", hour)])
    key = {"route": "mode", "complaint": "remedy", "notice": "remedy"}.get(request.family)
    if key:
        filled[key] = _one(rng, [word for word in WORDS[key] if request.fits(key, word) == bool(right)])
    towns = list(request.towns)
    if not lucky:
        towns[1] = _one(rng, [town for town in TOWNS if town not in towns])
    if rng.random() < 0.15:
        towns[0] = _one(rng, [town for town in TOWNS if town not in towns])
    filled |= {"town": towns[0], "town2": towns[1]}
    filled["day"] = filled["day"].capitalize()
    family = request.family
    if family == "place":
        family = request.true_answer if right else {"yes": "no", "no": "yes"}[request.true_answer]
    parts: list[Sequence[str]] = [CORE[family] if rng.random() < 0.65 else LOOSE]
    if rng.random() < 0.5:
        parts.append(DETAIL[request.family])
    for fault, chance in ((CHATTER, 0.15), (SMALL_PRINT, 0.25), (GROVEL, 0.2)):
        if rng.random() < chance:
            parts.append(fault)
    if rng.random() < 0.3:
        parts.insert(0, GUSHING)
    if rng.random() < 0.4:
        parts.insert(len(parts) if rng.random() < 0.75 else 0, ASK_BACK)
    said = [_one(rng, part).format(**filled) for part in parts]
    if rng.random() < 0.1:
        said.append(said[int(rng.integers(len(said)))])
    return " ".join(said)
