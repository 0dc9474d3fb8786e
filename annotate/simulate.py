"""Simulated annotators: a world's gold utility seen through noise, biases and lapses, some of it not seen at all.

They label through the queue, as people do. How sharp they are is calibrated once a world, so that two of them agree
as often as two people: 63 to 77% of pairs in published data.
"""

import hashlib
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sqlmodel import Session, col, func, select

from annotate import queue
from annotate.campaign import CampaignSection, in_force
from annotate.errors import BadInput, NotAllowed
from annotate.ledger import Ledger
from annotate.messages import as_messages, last_text, words
from annotate.progress import Progress, silent
from annotate.tables import Label, Slot
from annotate.worlds import World

AGREEMENT = 0.72
"""Pairwise agreement aimed at on demonstrations, over all pairs of annotators, spammers included, ties left out.

A model's own answers differ less than demonstrations do: on them it comes to about 0.70.
"""

LEAST_AGREEMENT = 0.60
"""A world on which these annotators cannot even agree this often says next to nothing."""

SOURCE = "simulated"
"""What the labels' `source` and the annotators' `kind` say."""

SPAMS = ("left", "random", "longest")
CALIBRATION_PAIRS = 600


@dataclass(frozen=True)
class Annotator:
    """One simulated annotator. Utilities and biases are in spreads: standard deviations of the world's gold.

    temperature: scale of the Gumbel noise on each utility. length_bias: utility per doubling of the length.
    position_bias: utility of being shown first rather than last. lapse: probability of answering blindly.
    tie_threshold: perceived differences below it are ties. pace: time a word, relative to the average person's.
    To a spammer all utilities are zero.
    """

    name: str
    kind: Literal["honest", "spammer"]
    temperature: float
    length_bias: float
    position_bias: float
    lapse: float
    tie_threshold: float
    pace: float
    seed: int


@dataclass(frozen=True)
class Panel:
    """Annotators calibrated to a world, and the spread that its gold is divided by."""

    world: World
    annotators: tuple[Annotator, ...]
    spread: float
    agreement: float

    def rank(
        self, annotator: Annotator, prompt: str, responses: Sequence[str], order: Sequence[int], pair: str
    ) -> list[list[int]]:
        """The annotator's ranking of `responses` as indices, best first; see `judge`.

        Raises BadInput when the world cannot judge one of them.
        """
        utilities = [self._utility(prompt, response) for response in responses]
        lengths = [len(words(response)) for response in responses]
        return judge(annotator, utilities, lengths, stream(annotator, pair), order)

    def _utility(self, prompt: str, response: str) -> float:
        try:
            gold = self.world.gold(prompt, response)
        except Exception as error:
            raise BadInput(
                f"it cannot judge an answer to {prompt[:60]!r} ({error})",
                where=f"world {self.world.name}",
                next="Give --world the one these prompts come from",
            ) from error
        if not math.isfinite(gold):
            raise BadInput(f"its gold for an answer to {prompt[:60]!r} is {gold}", where=f"world {self.world.name}")
        return gold / self.spread


def run(ledger: Ledger, world: World, *, seed: int, limit: int | None = None, progress: Progress = silent) -> int:
    """Have the roster label what is open, at most `limit` labels; returns how many were given.

    Whose turn it is follows from the ledger (who has labelled least), what they say from the seed and the pair, and
    the label's uuid from the seed, annotator and pair: a run that was killed goes on as if it had not been.
    """
    panel = calibrate(world, roster(seed), seed)
    turns = ledger.write(lambda session: _registered(session, panel.annotators))
    with ledger.read() as session:
        asked = in_force(session).settings
        left = session.exec(select(func.count()).select_from(Slot).where(col(Slot.state).in_(("open", "leased")))).one()
    total = left if limit is None else min(left, limit)
    seen: set[int] = set()
    given = 0
    while turns and (limit is None or given < limit):
        annotator = min(turns, key=lambda one: (turns[one], one.name))
        task = _next_task(ledger, annotator.name)
        if task is None or task.slot in seen:
            del turns[annotator]
            continue
        seen.add(task.slot)
        queue.submit(ledger, annotator.name, _judgment(panel, annotator, task, seed, asked))
        turns[annotator] += 1
        given += 1
        progress("simulated labels", given, max(total, given))
    return given


def roster(seed: int, n: int = 12) -> tuple[Annotator, ...]:
    """n annotators of whom every sixth is a spammer, at places drawn from the seed; not yet calibrated."""
    rng = np.random.default_rng([seed, 101])
    spammers = dict(zip(rng.permutation(n)[: n // 6].tolist(), SPAMS * n, strict=False))
    return tuple(_drawn(f"sim-{place + 1:02d}", spammers.get(place), rng) for place in range(n))


def judge(
    annotator: Annotator,
    utilities: Sequence[float],
    lengths: Sequence[int],
    rng: np.random.Generator,
    order: Sequence[int],
) -> list[list[int]]:
    """Rank k responses by perceived utility: lists of indices, best first, near ties in one list.

    utilities: in spreads; lengths: in words; order: the indices in the order shown. For two responses without
    biases the first wins with probability sigmoid(difference / temperature): Bradley-Terry; for more, Plackett-Luce.
    The noise belongs to a response, not to its place on the screen.
    """
    k = len(utilities)
    noise, blind, blind_order = rng.gumbel(size=k), rng.random() < annotator.lapse, rng.permutation(k)
    if blind:
        return [[int(i)] for i in blind_order]
    seen = np.zeros(k) if annotator.kind == "spammer" else np.asarray(utilities, dtype=float)
    seen = seen + annotator.length_bias * np.log2(np.asarray(lengths, dtype=float) + 1)
    seen[list(order)] += annotator.position_bias * np.linspace(1, 0, k)
    seen = seen + annotator.temperature * noise
    ranking: list[list[int]] = []
    for i in sorted(range(k), key=lambda index: -seen[index]):
        if ranking and seen[ranking[-1][0]] - seen[i] < annotator.tie_threshold:
            ranking[-1].append(i)
        else:
            ranking.append([i])
    return ranking


def calibrate(world: World, annotators: Sequence[Annotator], seed: int) -> Panel:
    """Scale all honest temperatures so that two of the annotators agree on AGREEMENT of the world's own pairs.

    The pairs are of the world's demonstrations, each scored for its own prompt. Solved by bisection on the exact
    expectation, so equal arguments give equal temperatures.
    A world whose gold is so coarse that AGREEMENT is out of reach gets the sharpest annotators.
    Raises BadInput when even these agree on less than LEAST_AGREEMENT, or the gold does not vary at all.
    """
    shown = world.demonstrations(2 * CALIBRATION_PAIRS, seed)
    gold = np.array([world.gold(prompt, response) for prompt, response in shown])
    spread = float(gold.std())
    if not math.isfinite(spread) or spread < 1e-9:
        raise BadInput("the gold of its demonstrations does not vary", where=world.name)
    lengths = np.log2([len(words(response)) + 1 for _, response in shown])
    gaps_N, longer_N = np.diff(gold.reshape(-1, 2))[:, 0] / spread, np.diff(lengths.reshape(-1, 2))[:, 0]

    def scaled(factor: float) -> tuple[Annotator, ...]:
        return tuple(replace(a, temperature=a.temperature * factor) if a.kind == "honest" else a for a in annotators)

    sharp, blunt = 1e-3, 30.0
    ceiling = expected_agreement(scaled(sharp), gaps_N, longer_N)
    if ceiling < LEAST_AGREEMENT:
        raise BadInput(
            f"even without noise two annotators agree on {ceiling:.0%} of pairs",
            where=world.name,
            next="Let the gold tell more demonstrations apart",
        )
    for _ in range(30):
        middle = math.sqrt(sharp * blunt)
        if expected_agreement(scaled(middle), gaps_N, longer_N) > AGREEMENT:
            sharp = middle
        else:
            blunt = middle
    panel = scaled(sharp)
    return Panel(world, panel, spread, expected_agreement(panel, gaps_N, longer_N))


def expected_agreement(annotators: Sequence[Annotator], gaps_N: np.ndarray, longer_N: np.ndarray) -> float:
    """Probability that two different annotators name the same winner, given that neither calls a tie.

    gaps_N: utility differences of N pairs (spreads); longer_N: differences of log2 length. Each annotator sees a
    pair in an order of its own.
    """
    wins_AN, losses_AN = map(np.stack, zip(*(_win_loss(a, gaps_N, longer_N) for a in annotators), strict=True))
    both = (wins_AN + losses_AN).sum(0) ** 2 - ((wins_AN + losses_AN) ** 2).sum(0)
    same = sum(side.sum(0) ** 2 - (side**2).sum(0) for side in (wins_AN, losses_AN))
    return float(np.sum(same) / np.sum(both))


def stream(annotator: Annotator, pair: str) -> np.random.Generator:
    """The annotator's own randomness for one pair; a pair judged again is judged the same."""
    word = int.from_bytes(hashlib.sha256(pair.encode()).digest()[:8], "big")
    return np.random.default_rng([annotator.seed, word])


def _registered(session: Session, annotators: Sequence[Annotator]) -> dict[Annotator, int]:
    """How many labels each has given so far, after making sure that the ledger knows them."""
    query = select(Label.annotator_id, func.count()).where(Label.source == SOURCE).group_by(col(Label.annotator_id))
    counts = dict(session.exec(query).all())
    for annotator in annotators:
        queue.register(session, annotator.name, kind=SOURCE)
    return {annotator: counts.get(annotator.name, 0) for annotator in annotators}


def _next_task(ledger: Ledger, name: str) -> queue.Task | None:
    try:
        tasks = queue.claim(ledger, name, 1)
    except NotAllowed:  # a lead has excluded this one
        return None
    return tasks[0] if tasks else None


def _judgment(
    panel: Panel, annotator: Annotator, task: queue.Task, seed: int, asked: CampaignSection
) -> queue.Judgment:
    shown = sorted(task.responses, key=lambda response: response.id)
    order = [shown.index(response) for response in task.responses]
    texts = [response.text for response in shown]
    ranking = panel.rank(annotator, last_text(as_messages(task.prompt)), texts, order, task.pair)
    if not asked.ties:  # what looks the same to them goes by the order shown
        ranking = [[i] for tied in ranking for i in sorted(tied, key=order.index)]
    read = sum(len(words(text)) for text in texts)
    reading = stream(annotator, f"time of {task.pair}").lognormal(0, 0.4)
    return queue.Judgment(
        uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"trueloop/{seed}/{annotator.name}/{task.pair}")),
        slot=task.slot,
        ranking=tuple(tuple(shown[i].id for i in place) for place in ranking),
        rationale="simulated" if asked.rationale == "demanded" else "",
        active_ms=int(annotator.pace * reading * (1500 + 250 * read)),
        source=SOURCE,
    )


def _win_loss(annotator: Annotator, gaps_N: np.ndarray, longer_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of naming the second or the first response of each pair the winner, over both orders."""
    signal_N = (gaps_N if annotator.kind == "honest" else 0 * gaps_N) + annotator.length_bias * longer_N

    def named(signal_N: np.ndarray) -> np.ndarray:
        """Probability that the side with this signal is the winner, on the left and on the right alike often."""
        shown_N = [
            _sigmoid((signal_N + shift - annotator.tie_threshold) / annotator.temperature)
            for shift in (annotator.position_bias, -annotator.position_bias)
        ]
        return (1 - annotator.lapse) * (shown_N[0] + shown_N[1]) / 2 + annotator.lapse / 2

    return named(signal_N), named(-signal_N)


def _sigmoid(x_N: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x_N / 2))  # never overflows


def _drawn(name: str, spam: str | None, rng: np.random.Generator) -> Annotator:
    honest = Annotator(
        name=name,
        kind="honest",
        temperature=float(np.exp(rng.normal(0, 0.25))),
        length_bias=float(rng.normal(0.05, 0.1)),
        position_bias=float(rng.normal(0.08, 0.08)),
        lapse=float(rng.uniform(0.01, 0.06)),
        tie_threshold=float(rng.uniform(0.03, 0.15)),
        pace=float(np.exp(rng.normal(0, 0.3))),
        seed=int(rng.integers(2**62)),
    )
    if spam is None:
        return honest
    bias = {"left": (0.0, 2.0), "random": (0.0, 0.0), "longest": (4.0, 0.0)}[spam]
    return replace(honest, kind="spammer", temperature=1.0, length_bias=bias[0], position_bias=bias[1], pace=0.2)
