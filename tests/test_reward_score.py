"""Scoring files: both row forms, text or messages, errors by line, and nothing half written."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.errors import BadInput, BadModel, NotFound
from annotate.messages import as_messages
from annotate.progress import silent
from reward import finetune, head
from reward.config import FinetuneSection, HeadSection
from reward.score import CHUNK, load_scorer, score_file


@pytest.fixture(scope="module", params=["head", "finetune"])
def reward(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    make_snapshot: Callable[..., Path],
) -> Path:
    """A reward folder of either kind."""
    inputs, out = {"sft": tiny_model, "snapshot": make_snapshot(80, 60)}, tmp_path_factory.mktemp(request.param)
    if request.param == "head":
        head.run(inputs, HeadSection(), out, seed=0, progress=silent)
    else:
        section = FinetuneSection(batch_size=8, learning_rate=3e-3)
        finetune.run(inputs, section, out, seed=0, progress=silent)
    return out


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_both_row_forms_are_scored_and_other_keys_are_kept(tmp_path: Path, reward: Path) -> None:
    turns = [{"role": "user", "content": "How do I cook?"}]
    rows = [
        {"prompt": "How do I cook?", "response": "salt butter butter", "id": 7},
        {"prompt": turns, "response": [{"role": "assistant", "content": "salt butter butter"}]},
        {"prompt": turns, "chosen": "salt butter butter", "rejected": "salt water"},
    ]
    told: list[tuple[str, int, int]] = []
    count = score_file(
        write(tmp_path / "in.jsonl", rows), reward, tmp_path / "out.jsonl", lambda *step: told.append(step)
    )
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert count == 3
    assert told[-1] == ("scoring", 3, 3)
    assert found[0]["id"] == 7
    assert found[0]["score"] == pytest.approx(found[1]["score"], abs=1e-4), "text and messages are one prompt"
    assert found[2]["score_chosen"] == pytest.approx(found[0]["score"], abs=1e-4)
    assert found[2]["score_chosen"] > found[2]["score_rejected"]
    assert found[0]["score_std"] >= 0
    assert rows[2].items() <= found[2].items()


def test_the_file_says_what_the_scorer_says_chunk_by_chunk(tmp_path: Path, reward: Path) -> None:
    count = CHUNK + 3
    rows = [{"prompt": f"Dish {number}?", "response": "salt butter " * (number % 4)} for number in range(count)]
    path = tmp_path / "in.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n\n" for row in rows)
    assert score_file(path, reward, tmp_path / "out.jsonl") == count
    found = [json.loads(line)["score"] for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    scorer = load_scorer(reward)
    mean, std = scorer.score([as_messages(row["prompt"]) for row in rows], [str(row["response"]) for row in rows])
    np.testing.assert_allclose(found, mean, atol=1e-4)
    assert std.shape == (count,)


def test_empty_and_endless_responses_get_a_number(reward: Path) -> None:
    mean, std = load_scorer(reward).score([as_messages("How?")] * 3, ["", "salt " * 2000, "½ \u2028 مرحبا 🧂"])
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


def test_a_file_may_be_scored_onto_itself(tmp_path: Path, reward: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "How?", "response": "salt"}])
    score_file(path, reward, path)
    assert "score" in json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected {prompt, response}"),
        ('{"prompt": "a"}', "expected {prompt, response}"),
        ('{"prompt": "a", "chosen": "b"}', "expected {prompt, response}"),
        ('{"prompt": 3, "response": "b"}', "expected text or a list of messages"),
        ('{"prompt": "a", "response": []}', "at least one message"),
        (
            '{"prompt": "a", "response": [{"role": "user", "content": "b"}]}',
            "does not end with a turn of the assistant",
        ),
    ],
)
def test_a_bad_row_is_named_by_line_and_nothing_is_written(tmp_path: Path, bad: str, said: str) -> None:
    good = json.dumps({"prompt": "How?", "response": "salt"})
    (tmp_path / "in.jsonl").write_text(f"{good}\n{bad}\n{good}\n", encoding="utf-8")
    (tmp_path / "out.jsonl").write_text("as it was", encoding="utf-8")
    with pytest.raises(BadInput, match="line 2") as error:
        score_file(tmp_path / "in.jsonl", tmp_path, tmp_path / "out.jsonl")
    assert said in str(error.value)
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_unreadable_files_and_folders_are_errors_that_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}')
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}" * 500)[:-9])
    for name, kind in (("absent.jsonl", NotFound), ("latin.jsonl", BadInput), ("cut.jsonl.gz", BadInput)):
        with pytest.raises(kind):
            score_file(tmp_path / name, tmp_path, tmp_path / "out.jsonl")
    with pytest.raises(NotFound, match="trueloop status"):
        load_scorer(tmp_path / "absent")
    with pytest.raises(BadModel, match="trueloop reward"):
        load_scorer(tmp_path)


def test_a_model_of_pickles_is_refused(tmp_path: Path, reward: Path) -> None:
    import shutil

    copy = tmp_path / "reward"
    shutil.copytree(reward, copy)
    folder = copy / "backbone" if (copy / "backbone").exists() else copy
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BadModel, match="pickle"):
        load_scorer(copy)
