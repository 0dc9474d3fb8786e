"""Exports: a line a row, streamed, judgments in response ids."""

import json
from datetime import datetime
from typing import get_args

import pytest

from annotate import queue
from annotate.errors import BadInput
from annotate.exports import Count, What, export, export_rows
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.preference import Preference
from annotate.queue import current_labels
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
    assert [list(export(ledger, what)) for what in get_args(What)] == [[]] * len(get_args(What))


def test_what_cannot_be_exported_is_named_before_the_first_line(ledger):
    with pytest.raises(BadInput, match=r"expected one of preferences, .*, labels, prompts, found 'users'"):
        export(ledger, "users")


CONVERSATION = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Why?"},
]


def judged(ledger, tmp_path, rows):
    path = tmp_path / "judged.jsonl"
    path.write_text("".join(json.dumps({"prompt": "Why?", "annotator": "ann", **row}) + "\n" for row in rows))
    assert import_file(ledger, path, "votes").rejected == []
    return {what: list(export_rows(ledger, what)) for what in ("votes", "kto", "sft", "preferences-implicit")}


def test_votes_are_the_labels_that_count_with_their_texts(labelled):
    queue.undo(labelled, "eve", "label-028", now=1_700_000_029)
    rows = rows_of(labelled, "votes")
    with labelled.read() as session:
        counted = {label.uuid: label for label in current_labels(session)}
    assert {row["uuid"] for row in rows} == counted.keys() and len(rows) == 28
    assert [row["pair"] for row in rows] == sorted(row["pair"] for row in rows)
    for row in rows:
        label = counted[row["uuid"]]
        assert (row["ranking"], row["order_shown"], row["annotator"]) == (label.ranking, label.order_shown, "eve")
        assert {one["id"] for one in row["responses"]} == {one for tied in row["ranking"] for one in tied}
        assert {one["text"][:3] for one in row["responses"]} == {"yes", "no "}


def test_votes_go_into_another_ledger_and_out_again_the_same(labelled, tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(export(labelled, "votes")), encoding="utf-8")
    assert import_file(labelled, path, "votes").duplicates == 29, "one's own votes are known again"
    with Ledger.open(f"sqlite:///{tmp_path / 'other.db'}", durable=False) as other:
        assert import_file(other, path, "votes").stored == 29
        again = {row["uuid"]: row for row in export_rows(other, "votes")}
    for row in export_rows(labelled, "votes"):
        texts = {one["id"]: one["text"] for one in row["responses"]}
        other_row = again[row["uuid"]]
        other_texts = {one["id"]: one["text"] for one in other_row["responses"]}
        for name in ("ranking", "order_shown"):
            said = json.dumps(row[name]), json.dumps(other_row[name])
            for (identity, text), (other_id, other_text) in zip(texts.items(), other_texts.items(), strict=True):
                said = said[0].replace(identity, text), said[1].replace(other_id, other_text)
            assert json.loads(said[0]) == json.loads(said[1])
        same = ("annotator", "strength", "rationale", "created_at", "active_ms", "prompt", "split", "guideline")
        assert [row[name] for name in same] == [other_row[name] for name in same]


def test_a_response_is_good_or_bad_by_what_most_labels_say(ledger, tmp_path):
    """Three labels on A, B, C: the best counts as good, the worst as bad, what lies between says nothing; an answer
    to "acceptable" goes before the rank, and both_bad calls all of them bad."""
    three = {"responses": ["A", "B", "C"]}
    rows = judged(
        ledger,
        tmp_path,
        [
            {**three, "ranking": [[0], [1], [2]]},
            {**three, "ranking": [[0, 1], [2]], "annotator": "bob", "criteria": {"acceptable": {"1": False}}},
            {**three, "ranking": [[2], [1], [0]], "annotator": "cid", "both_bad": True},
        ],
    )["kto"]
    said = {row["completion"][0]["content"]: (row["label"], row["votes_good"], row["votes_bad"]) for row in rows}
    assert said == {"A": (True, 2, 1), "B": (False, 0, 2), "C": (False, 0, 3)}
    assert rows[0]["annotators"] == ["ann", "bob", "cid"] and len(rows[0]["labels"]) == 3
    assert rows[0]["prompt"] == [{"role": "user", "content": "Why?"}]


def test_edits_are_demonstrations_and_stand_for_what_they_mended(ledger, tmp_path):
    rows = judged(
        ledger,
        tmp_path,
        [
            {"responses": ["A", "B"], "ranking": [[0], [1]], "edited": {"0": "A, mended"}, "active_ms": 9},
            {"responses": ["A", "B"], "ranking": [[0], [1]], "annotator": "bob", "edited": {"1": "B"}},
            {"prompt": "Who?", "responses": ["C", "D"], "ranking": [[1], [0]]},
            {"prompt": "When?", "responses": ["E", "F"], "ranking": [[0, 1]]},
            {"prompt": "Where?", "responses": ["G", "H"], "ranking": [[0], [1]], "both_bad": True},
        ],
    )["sft"]
    assert sorted((row["origin"], row["completion"][0]["content"]) for row in rows) == [
        ("edit", "A, mended"),
        ("preferred", "D"),
    ]
    edit = next(row for row in rows if row["origin"] == "edit")
    assert (edit["annotators"], edit["active_ms"], len(edit["labels"])) == (["ann"], 9, 1) and edit["created_at"]


def test_a_preference_without_a_prompt_of_its_own_holds_it_on_both_sides(ledger, tmp_path):
    rows = judged(ledger, tmp_path, [{"prompt": CONVERSATION, "responses": ["A", "B"], "ranking": [[1], [0]]}])
    (row,) = rows["preferences-implicit"]
    assert row["chosen"] == [*CONVERSATION, {"role": "assistant", "content": "B"}]
    assert row["rejected"] == [*CONVERSATION, {"role": "assistant", "content": "A"}] and "prompt" not in row


def test_texts_alone_leave_out_what_they_cannot_hold_and_say_so(ledger, tmp_path):
    rows = [{"responses": ["A", "B"], "ranking": [[1], [0]]}, {"responses": ["A", "B"], "ranking": [[0], [1]]}]
    rows[1]["prompt"] = CONVERSATION
    judged(ledger, tmp_path, rows)
    count = Count()
    (row,) = export_rows(ledger, "preferences-text", count)
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Why?", "B", "A")
    assert (count.rows, count.left_out) == (1, 1)
