"""The Bayesian head: Newton and Laplace against known answers, ties, weights, annotators, a save, and real pairs."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from align.tiny import TinySection, make_tiny
from annotate.errors import BadInput, BadModel
from annotate.messages import as_messages
from annotate.preference import Preference, write_preferences
from annotate.progress import silent
from reward.config import HeadSection
from reward.features import Features, Item
from reward.head import Head, Judgments, calibrate, choose_scales, run
from reward.score import load_scorer

REAL = Path(__file__).parents[2] / "shared" / "data" / "preferences"
GOOD, BAD = ["Certainly.", "Gladly, here it is."], ["Buy now!", "No idea."]


def preference(number: int, chosen: str, rejected: str, **fields: object) -> Preference:
    prompt = f"Question number {number} about plums?"
    return Preference.model_validate(
        {
            "prompt": as_messages(prompt),
            "chosen": as_messages(chosen, "assistant"),
            "rejected": as_messages(rejected, "assistant"),
            "group": prompt,
            **fields,
        }
    )


def polite(count: int, seed: int = 0, noise: float = 0.0, **fields: object) -> list[Preference]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        pair = [f"{rng.choice(side)} Plums are {rng.choice(['sweet', 'ripe', 'blue'])}." for side in (GOOD, BAD)]
        rows.append(preference(number, *(pair[::-1] if rng.random() < noise else pair), **fields))
    return rows


def fitted(preferences: list[Preference], section: HeadSection | None = None) -> Head:
    features, _ = Features.fit(Judgments.of(preferences).items)
    return Head.fit(preferences, features, section)


def accuracy(head: Head, preferences: list[Preference]) -> float:
    mean = [head.score([one.prompt] * 2, [one.chosen[0].text, one.rejected[0].text])[0] for one in preferences]
    return float(np.mean([chosen > rejected for chosen, rejected in mean]))


def one_feature(target: list[float], weight: list[float]) -> Judgments:
    count = len(target)
    return Judgments(
        np.ones(count, int),
        np.zeros(count, int),
        np.array(target),
        np.array(weight),
        np.zeros(count),
        np.full(count, -1),
        (),
        (Item(as_messages("p"), "a"), Item(as_messages("p"), "b")),
    )


def test_the_posterior_of_one_feature_is_the_one_derived_by_hand() -> None:
    """Difference 1, prior N(0, 1), n wins: the mode solves n sigmoid(-w) = w, its variance is 1 / (1 + n s (1 - s)).

    For n = 4: w = 1.0 gives 4 sigmoid(-1) = 1.0758, w = 1.04 gives 1.0450, so the mode lies at w = 1.0435.
    """
    blocks = {"text": np.array([[0.0], [1.0]])}
    head = Head.fit_judgments(one_feature([1] * 4, [1] * 4), Features(), blocks, scales={"text": 1.0})
    mode = head.weights[0]
    assert mode == pytest.approx(1.0435, abs=2e-3)
    chance = 1 / (1 + np.exp(-mode))
    assert head.covariance[0, 0] == pytest.approx(1 / (1 + 4 * chance * (1 - chance)), rel=1e-4)


def test_a_weight_of_two_is_two_judgments_and_a_tie_pulls_to_zero() -> None:
    blocks = {"text": np.array([[0.0], [1.0]])}
    twice = Head.fit_judgments(one_feature([1, 1], [1, 1]), Features(), blocks, scales={"text": 1.0})
    heavy = Head.fit_judgments(one_feature([1], [2]), Features(), blocks, scales={"text": 1.0})
    tied = Head.fit_judgments(one_feature([1, 1, 0.5, 0.5], [1] * 4), Features(), blocks, scales={"text": 1.0})
    ties = Head.fit_judgments(one_feature([0.5] * 3, [1] * 3), Features(), blocks, scales={"text": 1.0})
    assert heavy.weights[0] == pytest.approx(twice.weights[0], abs=1e-6)
    assert 0 < tied.weights[0] < twice.weights[0]
    assert ties.weights[0] == pytest.approx(0, abs=1e-6)


def test_swapping_every_pair_turns_the_reward_around() -> None:
    preferences = [one.model_copy(update={"soft_target": 0.9}) for one in polite(30)]
    features, _ = Features.fit(Judgments.of(preferences).items)
    judgments = Judgments.of(preferences)
    blocks = features(judgments.items)
    swapped = Judgments.of(preferences)
    object.__setattr__(swapped, "target", 1 - swapped.target)
    first = Head.fit_judgments(judgments, features, blocks)
    second = Head.fit_judgments(swapped, features, blocks)
    assert np.allclose(first.weights, -second.weights, atol=1e-5)


def test_it_learns_from_sixty_noisy_labels_and_is_surer_with_more() -> None:
    few, many = fitted(polite(20, noise=0.2)), fitted(polite(150, noise=0.2))
    fresh = polite(40, seed=9)
    assert accuracy(many, fresh) >= 0.95
    items = [Item(one.prompt, one.chosen[0].text) for one in fresh]
    assert many.predict(items)[1].mean() < few.predict(items)[1].mean()


def test_an_answer_unlike_any_seen_is_less_sure() -> None:
    head = fitted(polite(80))
    prompt = as_messages("Question about plums?")
    _, std = head.score([prompt, prompt], ["Certainly. Plums are sweet.", "Zebra quantum!! zebra 77 ZZZ\n\nquark?"])
    assert std[1] > 1.5 * std[0]


def test_an_annotator_who_always_takes_the_left_is_found_out() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for number, one in enumerate(polite(160)):
        left = float(rng.random() < 0.5)
        if number % 2:
            rows.append(one.model_copy(update={"annotators": ("fair",), "chosen_shown_left": left}))
        else:
            sided = one if left else one.swap()
            rows.append(
                sided.model_copy(update={"annotators": ("lefty",), "chosen_shown_left": 1.0, "soft_target": 1.0})
            )
    head = fitted(rows)
    assert head.annotators["lefty"][1] > 0.4 > abs(head.annotators["fair"][1])
    assert head.annotators["lefty"][0] < 0.7 < head.annotators["fair"][0]
    plain = fitted(rows, HeadSection(scale_spread=0, side_spread=0))
    assert plain.annotators["lefty"] == (1.0, 0.0)


def test_a_block_of_noise_is_given_less_scale_than_one_that_tells() -> None:
    rng = np.random.default_rng(0)
    preferences = polite(200)
    judgments = Judgments.of(preferences)
    good = np.array([any(item.response.startswith(opening) for opening in GOOD) for item in judgments.items], float)
    blocks = {"text": good[:, None] - good.mean(), "ngrams": rng.normal(size=(len(good), 20)) / np.sqrt(20)}
    scales = choose_scales(judgments, blocks)
    assert scales["text"] > 3 * scales["ngrams"]


def test_calibration_tempers_margins_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 1, 2000)
    target = (rng.random(2000) < 1 / (1 + np.exp(-margin))).astype(float)
    assert calibrate(margin, target, np.ones(2000)) == pytest.approx(1, abs=0.2)
    assert calibrate(4 * margin, target, np.ones(2000)) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("with_model", [False, True], ids=["text alone", "with a model"])
def test_the_stage_writes_what_scores_the_same_after_a_reload(tmp_path: Path, with_model: bool) -> None:
    snapshot, first, second = tmp_path / "snapshot", tmp_path / "first", tmp_path / "second"
    for folder in (snapshot, first, second):
        folder.mkdir()
    preferences = polite(60, noise=0.1) + polite(20, seed=5, split="validation")
    write_preferences(snapshot / "preferences.jsonl", preferences)
    inputs = {"snapshot": snapshot}
    if with_model:
        inputs["sft"] = tmp_path / "sft"
        inputs["sft"].mkdir()
        make_tiny([one.chosen[0].text for one in preferences], inputs["sft"], TinySection(width=16, layers=1))
    metrics = run(inputs, HeadSection(), first, seed=3, progress=silent)
    run(inputs, HeadSection(), second, seed=3, progress=silent)
    assert metrics["accuracy"] > 0.7 and metrics["preferences"] == 60  # type: ignore[operator]
    for name in ("head.safetensors", "head.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    scorer = load_scorer(first)
    prompts, responses = [one.prompt for one in preferences], [one.chosen[0].text for one in preferences]
    together, _ = scorer.score(prompts, responses)
    alone = [scorer.score([prompt], [text])[0][0] for prompt, text in zip(prompts[:5], responses[:5], strict=True)]
    assert np.allclose(together[:5], alone, atol=1e-4)
    assert np.allclose(together, Head.load(first).score(prompts, responses)[0], atol=1e-6)


def test_the_referee_is_fitted_to_the_validation_split_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    against = [one.swap().model_copy(update={"soft_target": 1.0}) for one in polite(60, split="train")]
    write_preferences(tmp_path / "preferences.jsonl", against + polite(40, seed=2, split="validation"))
    metrics = run({"snapshot": tmp_path}, HeadSection(), out, seed=0, progress=silent, split="validation")
    assert metrics["preferences"] == 40
    assert accuracy(Head.load(out), polite(20, seed=7)) > 0.9


@pytest.mark.parametrize(
    "preferences",
    [
        [one.model_copy(update={"soft_target": 0.5}) for one in polite(12)],
        polite(12, annotators=("only",), chosen_shown_left=1.0),
        polite(1),
        [preference(1, "", "x" * 10_000)],
        [preference(1, "same", "same")],
    ],
    ids=["all ties", "a single annotator", "one label", "empty and endless", "equal responses"],
)
def test_poor_labels_still_make_a_head(tmp_path: Path, preferences: list[Preference]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_preferences(tmp_path / "preferences.jsonl", preferences)
    run({"snapshot": tmp_path}, HeadSection(), out, seed=0, progress=silent)
    mean, std = Head.load(out).score([as_messages("p")], ["r"])
    assert np.isfinite(mean).all() and np.isfinite(std).all()


def test_no_label_and_a_damaged_head_are_said_with_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="trueloop annotate"):
        Judgments.of([])
    (tmp_path / "head.json").write_text("{}")
    with pytest.raises(BadModel, match="trueloop reward"):
        Head.load(tmp_path)


def read_real(name: str) -> list[Preference]:
    path = REAL / f"{name}_pairs.jsonl.gz"
    if not path.exists():
        pytest.skip("the public preference data is not beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Preference.model_validate(
            {key: row[key] for key in ("prompt", "chosen", "rejected")} | {"group": json.dumps(row["prompt"])}
        )
        for row in rows
    ]


@pytest.mark.parametrize(("name", "floor"), [("pandalm", 0.69), ("openinstruct", 0.64)])
def test_text_features_reach_the_floors_on_real_pairs(tmp_path: Path, name: str, floor: float) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_preferences(tmp_path / "preferences.jsonl", read_real(name))
    metrics = run({"snapshot": tmp_path}, HeadSection(), out, seed=0, progress=silent)
    assert metrics["accuracy"] >= floor  # type: ignore[operator]
