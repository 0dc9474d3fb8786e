"""A data set in a folder: a card, a Parquet file a split, and `datasets` reads it."""

import json

import pytest

from annotate.errors import BadInput
from annotate.exports import export_rows
from annotate.hub import push, write_dataset
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.media import store_image

datasets = pytest.importorskip("datasets")


@pytest.fixture
def ledger(tmp_path):
    """Votes on 40 prompts, one of them with an image."""
    rows = [
        {"prompt": f"{n * 7919} or not?", "responses": ["yes", "no"], "ranking": [[n % 2], [1 - n % 2]]}
        for n in range(40)
    ]
    image = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "image": store_image(tmp_path / "media", b"\x89PNG\r\n\x1a\n")},
    ]
    rows[3]["prompt"] = [{"role": "user", "content": image}]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps({**row, "annotator": "ann"}) + "\n" for row in rows))
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        import_file(ledger, path, "votes")
        yield ledger


@pytest.fixture(autouse=True)
def _cached_here(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("what", ["preferences", "votes", "kto"])
def test_the_folder_loads_and_holds_every_row(ledger, tmp_path, what):
    count = write_dataset(ledger, what, tmp_path / "set")
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    rows = list(export_rows(ledger, what))
    assert count.rows == len(rows) == sum(map(len, loaded.values()))
    assert {name: len(data) for name, data in loaded.items()} == {
        name: sum(row["split"] == name for row in rows) for name in loaded
    }
    loaded.save_to_disk(tmp_path / "saved")
    assert datasets.load_from_disk(tmp_path / "saved")["train"][0] == loaded["train"][0]
    assert f"trueloop export --what {what}" in (tmp_path / "set" / "README.md").read_text()


def test_a_data_set_comes_in_again(ledger, tmp_path):
    write_dataset(ledger, "votes", tmp_path / "set")
    with Ledger.open(f"sqlite:///{tmp_path / 'other.db'}", durable=False) as other:
        assert import_file(other, tmp_path / "set", "votes").stored == 40
        labels = {row["uuid"]: row["prompt"] for row in export_rows(other, "votes")}
    assert labels == {row["uuid"]: row["prompt"] for row in export_rows(ledger, "votes")}


def test_nothing_that_stands_there_is_overwritten(ledger, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="something stands there already"):
        write_dataset(ledger, "votes", tmp_path / "set")


def test_an_empty_ledger_has_nothing_to_write(tmp_path):
    with (
        Ledger.open(f"sqlite:///{tmp_path / 'none.db'}", durable=False) as empty,
        pytest.raises(BadInput, match="there is nothing to write"),
    ):
        write_dataset(empty, "votes", tmp_path / "empty")


def test_a_push_that_fails_says_what_to_do(ledger, tmp_path, monkeypatch):
    write_dataset(ledger, "votes", tmp_path / "set")
    told = []

    def refuse(self, name, private):
        told.append((name, private, sorted(self)))
        raise ValueError("401: not signed in")

    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", refuse)
    with pytest.raises(BadInput, match=r"me/set: cannot be pushed \(401: not signed in\). Run: hf auth login"):
        push(tmp_path / "set", "me/set")
    assert told == [("me/set", True, ["test", "train", "validation"])]
