"""What an export writes comes back as it was: from JSONL, CSV and Parquet alike, formulas disarmed and restored."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.columns import COLUMNS, guarded, unguarded
from annotate.encodings import encoded
from annotate.preference import Preference
from annotate.readers import read_rows

VALUES = {
    "text": '=HYPERLINK("http://x") ü\r\n\t\'-1',
    "whole": -3,
    "number": -0.25,
    "flag": True,
    "turns": [{"role": "user", "content": "شكرا\u2028 -1"}, {"role": "assistant", "content": "=1+1"}],
    "texts": ["=a", ""],
    "tiers": [["a"], ["b", "-c"]],
    "answers": [{"id": "a", "text": "@SUM(A1)", "model": "m"}, {"id": "b", "text": "", "model": ""}],
    "ratings": [{"name": "tone", "mean": 3.5, "votes": 2}],
    "object": {"acceptable": {"a": True}, "tone": 3},
}
IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image", "image": "media:00ff"}]


def row_of(what, **fields):
    return {name: VALUES[kind.rstrip("?")] for name, kind in COLUMNS[what].items()} | fields


def empty_row_of(what):
    nothing = {"text": "", "whole": 0, "number": 0.0, "flag": False, "object": {}}
    return {
        name: None if kind.endswith("?") else nothing.get(kind, [] if kind != "turns" else VALUES["turns"])
        for name, kind in COLUMNS[what].items()
    }


def written(tmp_path, what, format, rows, **options):
    path = tmp_path / f"rows.{format}"
    path.write_bytes(b"".join(encoded(what, format, rows, **options)))
    return path


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("what", COLUMNS)
def test_every_kind_of_row_comes_back_as_it_was(tmp_path, what, format):
    rows = [row_of(what), empty_row_of(what)] * 600  # more than a block
    read = list(read_rows(written(tmp_path, what, format, rows)))
    assert [one.broken for one in read] == [""] * len(rows)
    assert [one.fields for one in read] == rows


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_parts_of_a_turn_come_back_as_they_were(tmp_path, format):
    rows = [row_of("prompts", messages=[{"role": "user", "content": IMAGE}]), row_of("prompts")]
    assert [one.fields for one in read_rows(written(tmp_path, "prompts", format, rows, parts=True))] == rows


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_an_export_without_rows_is_a_whole_file(tmp_path, format):
    assert list(read_rows(written(tmp_path, "votes", format, []))) == []


@given(st.text(st.sampled_from("'=+-@\t\r\n＝＋－＠a1 \"")))
def test_no_text_begins_like_a_formula_and_every_one_comes_back(text):
    cell = guarded(text)
    assert not cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert unguarded(cell) == text


def test_numbers_stay_numbers_and_texts_of_digits_stay_texts(tmp_path):
    path = written(tmp_path, "votes", "csv", [row_of("votes", strength=-3, rationale="-3")])
    header, cells = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    shown = dict(zip(header, cells, strict=True))
    assert (shown["strength"], shown["rationale"], header[-1]) == ("-3", "'-3", "trueloop:votes")


def test_an_apostrophe_in_somebody_elses_csv_stays(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("prompt\n'=1\n", encoding="utf-8")
    assert [one.fields for one in read_rows(path)] == [{"prompt": "'=1"}]


def test_a_cell_that_a_spreadsheet_spoilt_is_text_and_no_traceback(tmp_path):
    path = written(tmp_path, "votes", "csv", [row_of("votes")])
    lines = path.read_text(encoding="utf-8").replace('"-3"', '"1,5"').replace('"[[', '"[[,')
    path.write_text(lines, encoding="utf-8")
    (row,) = read_rows(path)
    assert (row.fields["strength"], row.fields["ranking"][:3]) == ("1,5", "[[,")


def test_columns_of_preferences_are_those_of_a_preference():
    assert COLUMNS["preferences"].keys() == Preference.model_fields.keys()


def test_parquet_has_types_that_trainers_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [row_of("preferences"), empty_row_of("preferences")]
    path = written(tmp_path, "preferences", "parquet", rows)
    data = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert data[0]["chosen"] == VALUES["turns"] and data[1]["strength"] is None
    assert json.loads(json.dumps(data[0])) == rows[0]
