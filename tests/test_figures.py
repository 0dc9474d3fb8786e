"""Every drill catches its planted defect: a 0 that nothing could have raised is no evidence."""

import json
from pathlib import Path
from typing import Any

import pytest

from align.recipe import field_paths
from benchmarks import figures
from benchmarks.drills_knobs import knob_drill
from benchmarks.drills_loop import crash_drill, differences, planted_stamp
from benchmarks.figures import ROWS, Figure
from benchmarks.knobs import KNOBS, every_field
from benchmarks.mutants import mutants_of
from benchmarks.mutation import TARGETS, CoverageReport, Record, guards_of, nursery, planted, verdict


def figure(**fields: Any) -> Figure:
    whole = {"number": 5, "what": "", "found": "0 of 8", "aim": "", "met": True, "holds": True, "caught": True}
    return Figure(**{**whole, "detail": {}, **fields})


def shown(monkeypatch: pytest.MonkeyPatch, row: Figure) -> int:
    monkeypatch.setattr(figures, "ROWS", {5: lambda full: row})
    return figures.main(["--only", "5"])


def test_the_rows_of_this_ground_are_all_there() -> None:
    assert {3, 5, 12, 13, 14, 30, 34, 36} <= set(ROWS)


def test_a_figure_is_printed_with_its_tries_and_where_it_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(monkeypatch, figure()) == 0
    said = capsys.readouterr().out
    assert "0 of 8" in said and "caught" in said and "seed 0" in said and "commit" in said


def test_a_missed_defect_is_no_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(monkeypatch, figure(caught=False)) == 1
    said = capsys.readouterr().out
    assert "not measured" in said and "MISSED" in said and "0 of 8" not in said


def test_what_does_not_hold_is_named_and_ends_in_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(monkeypatch, figure(met=False, holds=False, detail={"dead": ["policy.unread"]})) == 1
    assert "row 5, dead: policy.unread" in capsys.readouterr().out


def test_a_check_that_breaks_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(full: bool) -> Figure:
        raise ValueError("no disk")

    monkeypatch.setattr(figures, "ROWS", {3: broken, 5: lambda full: figure()})
    assert figures.main(["--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["errors"] == {"3": "ValueError: no disk"} and [row["number"] for row in said["rows"]] == [5]


# ------------------------------------------------------------------------------------------------------- dead knobs


def test_every_field_of_a_recipe_has_a_line_in_the_table_of_knobs() -> None:
    assert sorted(knob.path for knob in KNOBS) == sorted(every_field())
    assert {knob.field for knob in KNOBS} == set(field_paths())


def test_a_change_that_shows_elsewhere_says_why() -> None:
    assert [knob.path for knob in KNOBS if bool(knob.seen) != bool(knob.why)] == []


@pytest.mark.slow
def test_no_field_of_a_recipe_changes_nothing() -> None:
    report = knob_drill()
    assert report.caught, "a field that nobody reads was called alive"
    assert report.dead == [] and report.failed == []
    assert len(report.tried) == len(every_field())


# ----------------------------------------------------------------------------------------------------------- crashes


def test_a_stage_that_writes_the_time_is_found(tmp_path: Path) -> None:
    found = planted_stamp(tmp_path)
    assert found == ["bytes: demonstrations 0 differs", "artifacts: demonstrations 0 differs"]


def test_differences_are_named() -> None:
    expected = {"labels": {"a": [1], "b": [2]}, "slots": {}}
    assert differences(expected, {"labels": {"a": [1], "c": [3]}, "slots": {}}) == [
        "labels: b is missing",
        "labels: c is new",
    ]
    assert differences(expected, expected) == []


@pytest.mark.slow
def test_killed_rounds_end_as_uninterrupted_ones_do() -> None:
    report = crash_drill()
    assert report.caught, report.planted
    assert report.different == [] and report.unreached == []
    assert len(report.points) == 10


# ----------------------------------------------------------------------------------------------------------- mutants

SOURCE = '''
def count(rows: list[int], least: int = 2) -> int:
    """How many."""
    assert least > 0, "at least one"
    found = 0
    for row in rows:
        if row >= least and row != 7:
            found += 1
    log.info("counted")
    rows.clear()
    return found
'''


def test_mutants_swap_negate_move_leave_out_and_return_nothing() -> None:
    assert [(mutant.line, mutant.what) for mutant in mutants_of("annotate/tally.py", SOURCE)] == [
        (5, "0 -> 1"),
        (7, "condition negated"),
        (7, "And -> Or"),
        (7, "GtE -> Gt"),
        (7, "NotEq -> Eq"),
        (7, "7 -> 8"),
        (8, "Add -> Sub"),
        (8, "1 -> 2"),
        (10, "left out: rows.clear()"),
        (11, "returns None"),
    ]


def test_each_mutant_changes_one_place() -> None:
    texts = [mutant.change(SOURCE) for mutant in mutants_of("annotate/tally.py", SOURCE)]
    assert "found = 1\n" in texts[0] and "if not (row >= least and row != 7):" in texts[1]
    assert "if row > least and row != 7:" in texts[3] and "rows.clear()" not in texts[8]
    assert "return None" in texts[9] and len(set(texts)) == len(texts)


def test_every_guarded_file_has_tests_and_mutants() -> None:
    for file in TARGETS:
        assert guards_of(file)
        assert mutants_of(file, (figures.ROOT / file).read_text(encoding="utf-8"))


def test_a_mutant_meets_the_tests_that_take_its_statement_the_quickest_first() -> None:
    gate = "tests/test_align_promote.py::"
    lines = {7: [f"{gate}slow", f"{gate}quick", "tests/test_other.py::quick"], 8: [f"{gate}body"]}
    seconds = {f"{gate}slow": 3.0, f"{gate}quick": 1.0, f"{gate}body": 0.5}
    record = Record(seconds, {"align/promote.py": lines}, CoverageReport(0, 0, {}, True))
    mutants = {mutant.what: mutant for mutant in mutants_of("align/promote.py", SOURCE)}
    assert record.noticing(mutants["GtE -> Gt"]) == [f"{gate}quick", f"{gate}slow"]
    assert record.noticing(mutants["Add -> Sub"]) == [f"{gate}body"]
    assert record.noticing(mutants["left out: rows.clear()"]) == []


@pytest.mark.slow
def test_a_defect_in_the_gate_is_killed_and_a_comment_is_not() -> None:
    wrong, harmless = planted()
    with nursery(1) as ([tree], _):
        record = tree.record()
        assert record.coverage.caught and 0 < record.coverage.taken <= record.coverage.branches
        assert [verdict(tree, mutant, record) for mutant in (wrong, harmless)] == ["killed", "survived"]
        assert (tree.folder / wrong.file).read_text(encoding="utf-8") == (figures.ROOT / wrong.file).read_text(
            encoding="utf-8"
        )
