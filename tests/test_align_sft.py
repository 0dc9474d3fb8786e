"""Fine-tuning through TRL: it learns, only from the answers, and a killed run ends in the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from align.algorithms.sft import SftSection, run
from align.tiny import TinySection
from annotate.errors import BadInput, BadModel
from annotate.progress import silent
from reward.backbone import load_model, load_tokenizer

TINY = TinySection(width=32, layers=1)
QUICK = SftSection(tiny=TINY, epochs=2, batch_size=16, checkpoint_steps=5)


def write_demonstrations(folder: Path, count: int = 160) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    things = ["leeks", "peas", "beans", "pears", "plums"]
    with (folder / "demonstrations.jsonl").open("w") as file:
        for number in range(count):
            thing = things[number % 5]
            prompt = [{"role": "user", "content": f"Dish {number} with {thing}?"}]
            file.write(json.dumps({"prompt": prompt, "response": f"Make a soup with {thing}."}) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, object]]:
    root = tmp_path_factory.mktemp("sft")
    demonstrations, out = write_demonstrations(root / "demonstrations"), root / "out"
    out.mkdir()
    return demonstrations, out, dict(run({"demonstrations": demonstrations}, QUICK, out, seed=1, progress=silent))


def test_the_loss_falls_and_is_reported_on_held_out_prompts(trained: tuple[Path, Path, dict[str, object]]) -> None:
    _, out, metrics = trained
    curve = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in curve if "loss" in row]
    assert losses[-1] < 0.7 * losses[0] and all("step" in row for row in curve)
    assert 0 < float(str(metrics["eval_loss"])) < losses[0]
    assert int(str(metrics["held_out"])) > 0
    assert int(str(metrics["held_out"])) + int(str(metrics["demonstrations"])) == 160


def test_the_folder_is_a_plain_model_without_traces_of_the_run(trained: tuple[Path, Path, dict[str, object]]) -> None:
    _, out, _ = trained
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "metrics.jsonl"} <= names
    assert not names & {"checkpoints", "initial", "README.md", "training_args.bin"}
    for path in out.glob("*.json*"):
        assert str(out.parent) not in path.read_text()
    load_model(out, load_tokenizer(out))


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    trained: tuple[Path, Path, dict[str, object]], tmp_path: Path
) -> None:
    demonstrations, whole, metrics = trained
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from align.algorithms.sft import SftSection, run\n"
        "def progress(what, done, total):\n"
        "    if done == 13: os.kill(os.getpid(), 9)\n"
        f"run({{'demonstrations': Path({str(demonstrations)!r})}}, SftSection.model_validate_json(sys.argv[1]),"
        f" Path({str(out)!r}), seed=1, progress=progress)"
    )
    killed = subprocess.run([sys.executable, "-c", code, QUICK.model_dump_json()], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    # A checkpoint that the kill cut short is passed over.
    (out / "checkpoints" / "checkpoint-12").mkdir()
    resumed = run({"demonstrations": demonstrations}, QUICK, out, seed=1, progress=silent)
    assert resumed == metrics
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_progress_counts_every_step(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    out.mkdir()
    section = QUICK.model_copy(update={"epochs": 1.0})
    run(
        {"demonstrations": write_demonstrations(tmp_path / "d", 48)},
        section,
        out,
        seed=0,
        progress=lambda what, done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_a_model_can_be_taken_as_it_is_or_tuned_further_with_lora(
    trained: tuple[Path, Path, dict[str, object]], tmp_path: Path
) -> None:
    import torch

    demonstrations, model, _ = trained
    as_is, tuned = tmp_path / "as_is", tmp_path / "tuned"
    as_is.mkdir()
    tuned.mkdir()
    run({}, SftSection(kind="none", model=str(model)), as_is, seed=0, progress=silent)
    assert (as_is / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    section = SftSection(model=str(model), lora_rank=2, epochs=1, batch_size=32)
    run({"demonstrations": demonstrations}, section, tuned, seed=0, progress=silent)
    first, second = load_model(model).state_dict(), load_model(tuned).state_dict()
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("content", ["", '{"prompt": "a"}\n', '{"prompt": "a", "response": "b"}\n{broken\n'])
def test_bad_demonstrations_are_named_by_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "demonstrations.jsonl").write_text(content)
    with pytest.raises(BadInput, match=r"demonstrations\.jsonl"):
        run({"demonstrations": tmp_path}, QUICK, tmp_path, seed=0, progress=silent)


def test_a_missing_model_is_a_bad_model(tmp_path: Path) -> None:
    demonstrations = write_demonstrations(tmp_path / "d", 4)
    with pytest.raises(BadModel):
        run(
            {"demonstrations": demonstrations},
            SftSection(model=str(tmp_path / "no")),
            tmp_path,
            seed=0,
            progress=silent,
        )
