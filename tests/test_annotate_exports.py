"""Exports: a line a row, streamed, judgments in response ids."""

import json
from datetime import datetime

import pytest

from annotate import queue
from annotate.errors import BadInput
from annotate.exports import export
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.preference import Preference
from annotate.snapshot import SnapshotSection, freeze


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture
def labelled(ledger, tmp_path):
    """A ledger with 30 pairs that eve labelled: always the first shown, one tie, one skipped."""
    path = tmp_path / "sets.jsonl"
    rows = [{"prompt": f"{n * 7919} or {n * 104729}?", "responses": [f"yes {n}", f"no {n}"]} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(ledger, path, "pairs")
    ledger.write(lambda session: queue.register(session, "eve"))
    for number, task in enumerate(queue.claim(ledger, "eve", 30)):
        ids = [response.id for response in task.responses]
        if number == 29:
            queue.skip(ledger, "eve", task.slot, "skipped-29", "cannot tell")
            continue
        judgment = queue.Judgment(
            uuid=f"label-{number:03d}",
            slot=task.slot,
            ranking=[ids] if number == 28 else [[one] for one in ids],
            strength=2,
            rationale="an umlaut: ü\nand a line",
            active_ms=1500,
        )
        queue.submit(ledger, "eve", judgment, now=1_700_000_000.5 + number)
    return ledger


def rows_of(ledger, what):
    lines = list(export(ledger, what))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def test_labels_name_responses_in_the_order_of_preference_whatever_the_side(labelled):
    rows = rows_of(labelled, "labels")
    assert len(rows) == 29
    sides = set()
    for row in rows:
        assert sorted(row["order_shown"]) == sorted(row["responses"])
        if len(row["ranking"]) == 2:
            assert [tied[0] for tied in row["ranking"]] == row["order_shown"], "eve always took the first shown"
            sides.add(row["order_shown"] == row["responses"])
    assert sides == {True, False}, "the order shown is not the canonical one"
    one = next(row for row in rows if row["uuid"] == "label-003")
    assert (one["annotator"], one["strength"], one["active_ms"], one["source"]) == ("eve", 2, 1500, "app")
    assert (one["rationale"], one["slot"] > 0, one["round"]) == ("an umlaut: ü\nand a line", True, 1)
    assert datetime.fromisoformat(one["created_at"]).timestamp() == 1_700_000_003.5


def test_preferences_are_those_of_a_snapshot(labelled, tmp_path):
    out = tmp_path / "snapshot"
    out.mkdir()
    freeze(labelled, out, SnapshotSection())
    assert "".join(export(labelled, "preferences")) == (out / "preferences.jsonl").read_text(encoding="utf-8")
    assert all(Preference.model_validate(row) for row in rows_of(labelled, "preferences"))


def test_prompts_come_with_split_and_group_and_may_be_imported_again(labelled, tmp_path):
    rows = rows_of(labelled, "prompts")
    assert len(rows) == 30
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(export(labelled, "prompts")))
    report = import_file(labelled, path, "prompts")
    assert (report.stored, report.duplicates) == (0, 30)


def test_an_export_sees_one_state_and_starts_without_waiting_for_the_rest(labelled):
    lines = export(labelled, "labels")
    first = json.loads(next(lines))
    queue.undo(labelled, "eve", "label-028", now=1_700_000_030)
    assert 1 + len(list(lines)) == 29, "what changes meanwhile belongs to the next export"
    assert len(rows_of(labelled, "labels")) == 28
    assert first["uuid"]


def test_an_empty_ledger_exports_nothing(ledger):
    assert [list(export(ledger, what)) for what in ("preferences", "labels", "prompts")] == [[], [], []]


def test_what_cannot_be_exported_is_named_before_the_first_line(ledger):
    with pytest.raises(BadInput, match="expected one of preferences, labels, prompts, found 'users'"):
        export(ledger, "users")
