"""Simulated annotators agree as people do, differ from each other, and label through the queue as people do."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session, select

from annotate import queue
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.messages import as_messages, digest, prompt_id, to_dicts
from annotate.pairs import CandidatePair
from annotate.simulate import AGREEMENT, Annotator, Panel, calibrate, expected_agreement, judge, roster, run, stream
from annotate.tables import Annotator as Registered
from annotate.tables import Pair, Prompt, Response
from annotate.workspace import Workspace
from annotate.worlds import Families, load_world

TRAVEL = str(Path(__file__).parent / "worlds" / "travel.py")
both_worlds = pytest.mark.parametrize("name", ["pantry", TRAVEL], ids=["pantry", "travel"])

PLAIN = Annotator(
    name="plain",
    kind="honest",
    temperature=1.0,
    length_bias=0.0,
    position_bias=0.0,
    lapse=0.0,
    tie_threshold=0.0,
    pace=1.0,
    seed=7,
)


@cache
def votes(name: str, seed: int) -> tuple[Panel, np.ndarray, np.ndarray, np.ndarray]:
    """(panel, votes, gold, first): 400 pairs to the same prompt, each seen by every annotator in an order of its own.

    votes (annotator, pair): 1 when response 0 won, -1 when 1 did, 0 for a tie; gold: the sign of the difference;
    first (annotator, pair): 1 when response 0 was shown first, -1 otherwise.
    """
    world = load_world(name)
    assert isinstance(world, Families)
    panel = calibrate(world, roster(seed), seed)
    rng = np.random.default_rng(seed)
    prompts = world.prompts(400, seed + 50)
    cast = np.zeros((12, 400), int)
    first = np.zeros((12, 400), int)
    better = np.zeros(400, int)
    for k, prompt in enumerate(prompts):
        pair = world.responses(prompt, 2, seed)
        better[k] = np.sign(world.gold(prompt, pair[0]) - world.gold(prompt, pair[1]))
        for i, annotator in enumerate(panel.annotators):
            order = rng.permutation(2).tolist()
            ranking = panel.rank(annotator, prompt, pair, order, f"pair {k}")
            cast[i, k] = 0 if len(ranking) == 1 else 1 if ranking[0] == [0] else -1
            first[i, k] = 1 if order[0] == 0 else -1
    return panel, cast, better, first


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    told = (one != 0) & (other != 0)
    return float(np.mean(one[told] == other[told]))


@both_worlds
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_annotators_agree_as_often_as_two_people(name: str, seed: int) -> None:
    _, cast, _, _ = votes(name, seed)
    pairs = itertools.combinations(range(12), 2)
    assert 0.63 < np.mean([agreement(cast[i], cast[j]) for i, j in pairs]) < 0.77


@both_worlds
def test_spammers_agree_with_the_others_by_chance_and_honest_ones_follow_gold(name: str) -> None:
    panel, cast, better, _ = votes(name, 0)
    right = [agreement(cast[i], better) for i in range(12)]
    honest = [i for i, annotator in enumerate(panel.annotators) if annotator.kind == "honest"]
    assert len(honest) == 10
    assert min(right[i] for i in honest) > 0.65
    for spammer in set(range(12)) - set(honest):
        assert np.mean([agreement(cast[spammer], cast[i]) for i in honest]) == pytest.approx(0.5, abs=0.06)


@both_worlds
def test_one_spammer_takes_the_left_and_honest_ones_lean_to_it_a_little(name: str) -> None:
    panel, cast, _, first = votes(name, 0)
    took_first = {annotator.name: agreement(cast[i], first[i]) for i, annotator in enumerate(panel.annotators)}
    spammers = sorted(took_first[a.name] for a in panel.annotators if a.kind == "spammer")
    honest = [took_first[a.name] for a in panel.annotators if a.kind == "honest"]
    assert spammers[0] == pytest.approx(0.5, abs=0.08)
    assert spammers[1] > 0.8
    assert 0.5 < np.mean(honest) < 0.6


def test_ties_are_rare_but_there() -> None:
    _, cast, _, _ = votes("pantry", 0)
    assert 0.005 < np.mean(cast == 0) < 0.15


def test_judging_again_gives_the_same_and_another_pair_or_seed_gives_another_noise() -> None:
    def ranked(annotator: Annotator, pair: str) -> list[list[int]]:
        return judge(annotator, [0.0] * 8, [5] * 8, stream(annotator, pair), range(8))

    assert ranked(PLAIN, "a") == ranked(PLAIN, "a")
    assert ranked(PLAIN, "a") != ranked(PLAIN, "b")
    assert ranked(PLAIN, "a") != ranked(replace(PLAIN, seed=8), "a")


def test_the_noise_belongs_to_the_response_not_to_its_place() -> None:
    for k in range(50):
        orders = ([0, 1, 2], [2, 0, 1])
        one, other = (judge(PLAIN, [0, 0.5, 1], [5] * 3, stream(PLAIN, str(k)), order) for order in orders)
        assert one == other


def first_wins(
    annotator: Annotator, gap: float, lengths: tuple[int, int] = (9, 9), order: tuple[int, int] = (0, 1)
) -> float:
    rankings = [judge(annotator, [gap, 0.0], lengths, stream(annotator, str(k)), order) for k in range(4000)]
    return float(np.mean([ranking[0] == [0] for ranking in rankings]))


def test_two_responses_are_judged_by_bradley_terry() -> None:
    """sigmoid(0.6 / 0.5) = 1 / (1 + exp(-1.2)) = 0.7685."""
    assert first_wins(replace(PLAIN, temperature=0.5), 0.6) == pytest.approx(0.7685, abs=0.02)


def test_three_responses_are_judged_by_plackett_luce() -> None:
    """With utilities 1, 0, 0 the first is best with probability e / (e + 2) = 0.5761."""
    best = [judge(PLAIN, [1, 0, 0], [9] * 3, stream(PLAIN, str(k)), range(3))[0] for k in range(4000)]
    assert np.mean([top == [0] for top in best]) == pytest.approx(0.5761, abs=0.025)


def test_length_and_position_move_the_odds_by_their_bias() -> None:
    """Twice the length, or the first place, is worth 0.8: sigmoid(0.8) = 0.6900."""
    assert first_wins(replace(PLAIN, length_bias=0.8), 0, lengths=(19, 9)) == pytest.approx(0.69, abs=0.02)
    assert first_wins(replace(PLAIN, position_bias=0.8), 0) == pytest.approx(0.69, abs=0.02)
    assert first_wins(replace(PLAIN, position_bias=0.8), 0, order=(1, 0)) == pytest.approx(0.31, abs=0.02)


def test_a_lapse_is_blind() -> None:
    """Right 9 times in 10 lapses aside: 0.4 / 2 + 0.6 = 0.8 for a gap that is otherwise always seen."""
    assert first_wins(replace(PLAIN, lapse=0.4), 50) == pytest.approx(0.8, abs=0.02)


def test_near_ties_share_a_place_and_every_response_is_ranked_once() -> None:
    calm = replace(PLAIN, temperature=1e-9, tie_threshold=0.2)
    assert judge(calm, [0.1, 2.0, 0.0, 1.9], [9] * 4, stream(calm, "x"), range(4)) == [[1, 3], [0, 2]]
    for k in range(100):
        ranking = judge(replace(PLAIN, tie_threshold=0.5), [0] * 5, [9] * 5, stream(PLAIN, str(k)), range(5))
        assert sorted(i for place in ranking for i in place) == list(range(5))


def test_agreement_of_two_plain_annotators_is_by_hand_what_is_expected() -> None:
    """Gap ln 3 at temperature 1: each is right 3 times in 4, both agree with probability 9/16 + 1/16 = 0.625."""
    pair = (PLAIN, replace(PLAIN, seed=8))
    assert expected_agreement(pair, np.array([math.log(3)]), np.zeros(1)) == pytest.approx(0.625)


def test_the_expected_agreement_is_the_one_measured() -> None:
    panel, cast, _, _ = votes("pantry", 1)
    measured = [agreement(cast[i], cast[j]) for i, j in itertools.combinations(range(12), 2)]
    assert panel.agreement == pytest.approx(AGREEMENT, abs=1e-3)
    assert np.mean(measured) == pytest.approx(panel.agreement, abs=0.04)


def test_calibration_does_not_depend_on_the_unit_of_gold() -> None:
    world = load_world("pantry")

    class Percent:
        name = "percent"
        prompts = staticmethod(world.prompts)
        demonstrations = staticmethod(world.demonstrations)

        def gold(self, prompt: str, response: str) -> float:
            return 100 * world.gold(prompt, response) - 40

    plain, percent = calibrate(world, roster(3), 3), calibrate(Percent(), roster(3), 3)
    assert percent.spread == pytest.approx(100 * plain.spread)
    for one, other in zip(plain.annotators, percent.annotators, strict=True):
        assert other.temperature == pytest.approx(one.temperature)


def test_a_coarse_gold_gets_annotators_as_sharp_as_can_be() -> None:
    """Gold cannot tell every second pair apart, so AGREEMENT is out of this roster's reach."""

    class Coarse:
        name = "coarse"

        def prompts(self, n: int, seed: int) -> list[str]:
            return [f"p{i}" for i in range(n)]

        def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
            return [(f"p{i}", "x" if i % 4 else "y") for i in range(n)]

        def gold(self, prompt: str, response: str) -> float:
            return float(response == "y")

    assert 0.65 < calibrate(Coarse(), roster(0), 0).agreement < AGREEMENT - 0.01


@pytest.mark.parametrize(("levels", "complaint"), [(1, "does not vary"), (20, "even without noise")])
def test_a_gold_that_cannot_carry_the_agreement_is_refused(levels: int, complaint: str) -> None:
    """19 of 20 demonstrations share one value, so nine pairs in ten are coin flips to every annotator."""

    class Flat:
        name = "flat"

        def prompts(self, n: int, seed: int) -> list[str]:
            return [f"p{i}" for i in range(n)]

        def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
            return [(f"p{i}", "x" if i % 20 else "y") for i in range(n)]

        def gold(self, prompt: str, response: str) -> float:
            return float(levels > 1 and response == "y")

    with pytest.raises(BadInput, match=complaint):
        calibrate(Flat(), roster(0), 0)


@pytest.mark.parametrize("n", [2, 6, 12, 30])
def test_every_sixth_of_a_roster_is_a_spammer_and_names_are_distinct(n: int) -> None:
    found = roster(5, n)
    assert len({annotator.name for annotator in found}) == n
    assert Counter(annotator.kind for annotator in found)["spammer"] == n // 6
    assert found == roster(5, n)
    assert found != roster(6, n)


# ------------------------------------------------------------------------------------ through the queue


def filled_ledger(path: Path, prompts: int = 20, overlap: int = 3, k: int = 2) -> Ledger:
    """A ledger in which `prompts` prompts of the pantry have one set of k responses each to be labelled."""
    world = load_world("pantry")
    assert isinstance(world, Families)
    rows: list[Prompt | Response] = []
    candidates = []
    for text in world.prompts(prompts, 1):
        messages = as_messages(text)
        asked = prompt_id(messages)
        rows.append(
            Prompt(id=asked, messages=to_dicts(messages), text=text, group=asked, split="train", created_at=0.0)
        )
        answers = dict.fromkeys(world.responses(text, 2 * k, 2))
        responses = [
            Response(id=digest([asked, answer]), prompt_id=asked, text=answer, sampling={}, created_at=0.0)
            for answer in list(answers)[:k]
        ]
        rows += responses
        candidates.append(CandidatePair(asked, tuple(r.id for r in responses), round=1, overlap=overlap))
    ledger = Ledger(Workspace.init(path, "seed: 0\n"), durable=False)

    def fill(session: Session) -> None:
        session.add_all(rows)
        session.flush()
        queue.add_pairs(session, candidates, seed=4)

    ledger.write(fill)
    return ledger


def said(ledger: Ledger) -> dict[str, tuple[object, ...]]:
    """What all labels that count say, by uuid, leaving out when they were given."""
    with ledger.read() as session:
        return {
            label.uuid: (label.pair_id, label.annotator_id, str(label.ranking), str(label.order_shown), label.active_ms)
            for label in queue.current_labels(session)
        }


def test_the_roster_labels_all_that_is_open_and_takes_turns(tmp_path: Path) -> None:
    with filled_ledger(tmp_path / "w") as ledger:
        calls: list[tuple[int, int]] = []
        count = run(ledger, load_world("pantry"), seed=0, progress=lambda what, done, all: calls.append((done, all)))
        assert count == 60
        assert calls[-1] == (60, 60)
        labels = said(ledger)
        assert set(Counter(who for _, who, *_ in labels.values()).values()) == {5}
        assert len({(pair, who) for pair, who, *_ in labels.values()}) == 60
        with ledger.read() as session:
            assert {row.kind for row in session.exec(select(Registered))} == {"simulated"}
            assert {label.source for label in queue.current_labels(session)} == {"simulated"}
        assert run(ledger, load_world("pantry"), seed=0) == 0


def test_a_limit_is_kept_and_the_rest_follows_as_if_there_had_been_none(tmp_path: Path) -> None:
    with filled_ledger(tmp_path / "whole") as whole, filled_ledger(tmp_path / "parts") as parts:
        run(whole, load_world("pantry"), seed=0)
        assert [run(parts, load_world("pantry"), seed=0, limit=limit) for limit in (1, 24, None)] == [1, 24, 35]
        assert said(parts) == said(whole)


def test_a_run_killed_after_a_claim_doubles_nothing_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    submit = queue.submit
    with filled_ledger(tmp_path / "whole") as whole, filled_ledger(tmp_path / "killed") as killed:
        run(whole, load_world("pantry"), seed=0)
        for after, when in ((7, "before"), (13, "after")):
            calls = itertools.count(1)

            def dying(*arguments: Any, calls: Any = calls, after: int = after, when: str = when) -> queue.Stored:
                last = next(calls) == after
                if last and when == "before":
                    raise Killed
                stored = submit(*arguments)
                if last:
                    raise Killed
                return stored

            monkeypatch.setattr(queue, "submit", dying)
            with pytest.raises(Killed):
                run(killed, load_world("pantry"), seed=0)
            monkeypatch.setattr(queue, "submit", submit)
        assert run(killed, load_world("pantry"), seed=0) == 60 - 6 - 13
        assert said(killed) == said(whole)


def test_another_seed_brings_other_judgments(tmp_path: Path) -> None:
    with filled_ledger(tmp_path / "a") as one, filled_ledger(tmp_path / "b") as other:
        run(one, load_world("pantry"), seed=0)
        run(other, load_world("pantry"), seed=1)
        assert not set(said(one)) & set(said(other))


def test_an_annotator_who_was_excluded_labels_nothing_more(tmp_path: Path) -> None:
    with filled_ledger(tmp_path / "w") as ledger:
        run(ledger, load_world("pantry"), seed=0, limit=12)

        def exclude(session: Session) -> None:
            row = session.get(Registered, "sim-03")
            assert row is not None
            row.active = False
            session.add(row)

        ledger.write(exclude)
        assert run(ledger, load_world("pantry"), seed=0) == 48
        assert Counter(who for _, who, *_ in said(ledger).values())["sim-03"] == 1


def test_four_responses_are_ranked_in_full_and_mostly_as_gold_would(tmp_path: Path) -> None:
    world = load_world("pantry")
    with filled_ledger(tmp_path / "w", overlap=2, k=4) as ledger:
        assert run(ledger, world, seed=0) == 40
        right = []
        with ledger.read() as session:
            texts = {row.id: row.text for row in session.exec(select(Response))}
            for label in queue.current_labels(session):
                pair = session.get(Pair, label.pair_id)
                assert pair is not None
                prompt = session.get(Prompt, pair.prompt_id)
                assert prompt is not None
                assert sorted(i for place in label.ranking for i in place) == sorted(label.order_shown)
                assert len(label.order_shown) == 4
                first, last = (world.gold(prompt.text, texts[label.ranking[at][0]]) for at in (0, -1))
                right.append(first > last)
        assert np.mean(right) > 0.7


def test_prompts_of_another_world_are_refused_with_its_name(tmp_path: Path) -> None:
    with (
        filled_ledger(tmp_path / "w") as ledger,
        pytest.raises(BadInput, match="world travel: it cannot judge an answer to"),
    ):
        run(ledger, load_world(TRAVEL), seed=0)


def test_reading_takes_people_seconds_and_spammers_less(tmp_path: Path) -> None:
    with filled_ledger(tmp_path / "w", prompts=60, overlap=4) as ledger:
        run(ledger, load_world("pantry"), seed=0)
        spammers = {annotator.name for annotator in roster(0) if annotator.kind == "spammer"}
        took: dict[bool, list[int]] = {True: [], False: []}
        for _, who, _, _, active_ms in said(ledger).values():
            assert isinstance(active_ms, int)
            took[who in spammers].append(active_ms)
        assert 5_000 < np.median(took[False]) < 40_000
        assert np.median(took[True]) < 0.5 * np.median(took[False])
