"""RLOO against a reward model: the reward rises, the guard keeps the surest checkpoint, a kill changes nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.algorithms.rloo import RlooSection, run
from align.algorithms.sft import SftSection
from align.algorithms.sft import run as fine_tune
from align.generate import generate_from
from align.guard import Guard, Look
from align.tiny import TinySection
from annotate.errors import BadInput
from annotate.messages import as_messages, to_dicts
from annotate.preference import Preference, write_preferences
from annotate.progress import silent
from reward.config import HeadSection
from reward.head import run as fit_head

THINGS = ["leeks", "peas", "beans", "pears", "plums", "beets"]
ENDINGS = ["Enjoy your meal!", "Whatever."]
SECTION = RlooSection(
    steps=6, prompts_per_step=4, samples=4, max_new_tokens=16, probe_steps=2, probe_prompts=6, learning_rate=3e-3
)
HASTY = SECTION.model_copy(update={"learning_rate": 1e-2, "kl_budget": 0.6})


def answer(thing: str, ending: str) -> str:
    return f"Make soup with {thing}. {ending}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An SFT model that ends politely half of the time, a head that likes it, and prompts."""
    root = tmp_path_factory.mktemp("rloo")
    folders = {name: root / name for name in ("demonstrations", "sft", "snapshot", "reward", "prompts")}
    for folder in folders.values():
        folder.mkdir()
    with (folders["demonstrations"] / "demonstrations.jsonl").open("w") as file:
        for number in range(600):
            thing, ending = THINGS[number % 6], ENDINGS[(number // 6) % 2]
            row = {
                "prompt": to_dicts(as_messages(f"Dish {number % 30} with {thing}?")),
                "response": answer(thing, ending),
            }
            file.write(json.dumps(row) + "\n")
    section = SftSection(tiny=TinySection(width=48, layers=1), epochs=6, batch_size=32)
    fine_tune({"demonstrations": folders["demonstrations"]}, section, folders["sft"], seed=0, progress=silent)
    asked = [as_messages(f"Dish {number} with {thing}?") for number, thing in enumerate(THINGS * 16)]
    rows = generate_from(folders["sft"], asked, n=2, max_new_tokens=16, seed=1)
    preferences = []
    for prompt, pair in zip(asked, rows, strict=True):
        chosen, rejected = sorted((one.text for one in pair), key=lambda text: ENDINGS[0] not in text)
        if ENDINGS[0] in chosen and ENDINGS[0] not in rejected:
            sides = {"chosen": as_messages(chosen, "assistant"), "rejected": as_messages(rejected, "assistant")}
            preferences.append(Preference(prompt=prompt, group=prompt[0].text, **sides))
    write_preferences(folders["snapshot"] / "preferences.jsonl", preferences)
    fit_head(
        {"sft": folders["sft"], "snapshot": folders["snapshot"]},
        HeadSection(),
        folders["reward"],
        seed=0,
        progress=silent,
    )
    with (folders["prompts"] / "prompts.jsonl").open("w") as file:
        for number in range(24):
            split = "train" if number < 16 else "validation"
            row = {"id": str(number), "messages": to_dicts(as_messages(f"Dish {number} with {THINGS[number % 6]}?"))}
            file.write(json.dumps({**row, "split": split, "group": str(number), "family": ""}) + "\n")
    return folders


@pytest.fixture(scope="module")
def aligned(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("policy")
    return out, dict(run(inputs, SECTION, out, seed=1, progress=silent))


def polite_share(model: Path) -> float:
    prompts = [as_messages(f"Dish 99 with {thing}?") for thing in THINGS]
    rows = generate_from(model, prompts, n=20, max_new_tokens=16, seed=0)
    return float(np.mean([ENDINGS[0] in one.text for row in rows for one in row]))


def test_the_policy_does_more_of_what_was_preferred(
    inputs: dict[str, Path], aligned: tuple[Path, dict[str, Any]]
) -> None:
    out, metrics = aligned
    assert polite_share(out) > polite_share(inputs["sft"]) + 0.15
    assert metrics["improvement"] > 0 and metrics["kept_step"] > 0 and metrics["kl"] > 0


def test_the_curves_hold_every_step_and_every_look(aligned: tuple[Path, dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in (aligned[0] / "metrics.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows if "reward" in row} == set(range(1, 7))
    assert [row["step"] for row in rows if "held_out_kl" in row] == [0, 2, 4, 6]
    assert all(key in rows[-1] for key in ("held_out_improvement", "held_out_doubt", "held_out_repeated"))


def test_the_folder_is_a_plain_model(aligned: tuple[Path, dict[str, Any]]) -> None:
    names = {path.name for path in aligned[0].iterdir()}
    assert not names & {"checkpoints", "candidates", "looks.json", "training_args.bin", "README.md"}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names


@pytest.fixture(scope="module")
def led_back(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("led-back")
    return out, dict(run(inputs, HASTY, out, seed=1, progress=silent))


def test_a_policy_that_leaves_its_budget_goes_on_from_its_surest_checkpoint_half_as_fast(
    led_back: tuple[Path, dict[str, Any]],
) -> None:
    """Three warm-up steps, then linear decay over three: the peak's shares are 0, 1/3, 2/3, 1, 2/3, 1/3."""
    out, metrics = led_back
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kl = {row["step"]: row["held_out_kl"] for row in rows if "held_out_kl" in row}
    rates = {row["step"]: row["learning_rate"] for row in rows if "learning_rate" in row}
    assert list(kl) == [0, 2, 4, 6] and metrics["steps"] == 6
    expected, speed = {}, HASTY.learning_rate
    for step, share in enumerate((0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3), 1):
        expected[step] = speed * share
        speed /= 2 if kl.get(step, 0) > HASTY.kl_budget else 1
    assert rates == pytest.approx(expected)
    assert speed < HASTY.learning_rate and metrics["kl"] <= HASTY.kl_budget
    assert "more than the budget" in metrics["warnings"]


@pytest.mark.parametrize(("section", "whole"), [(SECTION, "aligned"), (HASTY, "led_back")])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    inputs: dict[str, Path], section: RlooSection, whole: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder, figures = request.getfixturevalue(whole)
    paths = {name: str(path) for name, path in inputs.items()}
    code = (
        "import os, sys, json; from pathlib import Path; from align.algorithms.rloo import RlooSection, run\n"
        "def progress(what, done, total):\n"
        "    if what == 'aligning' and done == 5: os.kill(os.getpid(), 9)\n"
        "inputs = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}\n"
        f"run(inputs, RlooSection.model_validate_json(sys.argv[1]), Path({str(tmp_path)!r}), seed=1, progress=progress)"
    )
    command = [sys.executable, "-c", code, section.model_dump_json(), json.dumps(paths)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert (tmp_path / "checkpoints" / "checkpoint-4").is_dir()
    assert run(inputs, section, tmp_path, seed=1, progress=silent) == figures
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_without_train_prompts_it_says_what_to_do(inputs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("")
    with pytest.raises(BadInput, match="trueloop prompts"):
        run({**inputs, "prompts": tmp_path}, SECTION, tmp_path, seed=0, progress=silent)


def guard(tmp_path: Path) -> Guard:
    made = Guard(
        None, None, None, [], tmp_path, seed=0, max_new_tokens=8, max_prompt_tokens=8, kl_budget=25.0,
        length_budget=2.5, every=1, progress=silent,
    )  # fmt: skip
    made.looks = [LOOK]
    return made


LOOK = Look(0, 0.0, 0.0, 0.0, kl=0.0, tokens=20.0, ended=1.0, repeated=0.01, told=4.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kl": 26.0}, "nats"),
        ({"tokens": 51.0}, "tokens"),
        ({"tokens": 4.0}, "tokens"),
        ({"ended": 0.8}, "end"),
        ({"repeated": 0.2}, "repetition"),
        ({"told": 0.5}, "alike"),
    ],
)
def test_a_collapsed_policy_is_never_kept_however_high_its_reward(
    tmp_path: Path, change: dict[str, float], word: str
) -> None:
    watch = guard(tmp_path)
    sane = Look(**{**vars(LOOK), "step": 1, "improvement": 0.5, "doubt": 0.1})
    collapsed = Look(**{**vars(LOOK), "step": 2, "improvement": 9.0, **change})
    watch.looks += [sane, collapsed]
    assert word in (watch.broken(collapsed) or "") and watch.broken(sane) is None
    assert watch.best() is sane
    assert any(word in warning for warning in watch.warnings())


def test_the_surest_look_is_kept_and_not_the_highest(tmp_path: Path) -> None:
    watch = guard(tmp_path)
    watch.looks += [
        Look(**{**vars(LOOK), "step": 1, "improvement": 0.6, "doubt": 0.1}),
        Look(**{**vars(LOOK), "step": 2, "improvement": 0.8, "doubt": 0.5}),
    ]
    assert watch.best().step == 1
    watch.looks = [LOOK, Look(**{**vars(LOOK), "step": 1, "improvement": 0.2, "doubt": 0.3})]
    assert watch.best().step == 0 and "SFT model" in watch.warnings()[0]
