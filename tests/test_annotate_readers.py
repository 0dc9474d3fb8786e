"""Files are read strictly: a row is understood or named, never guessed at."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.errors import BadInput, NotFound
from annotate.readers import MAX_LINE, TABLES, TEXTS, parse_json, read_rows, text_problem


def rows_of(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, TABLES + TEXTS))


def broken(rows):
    return {row.line: row.broken for row in rows if row.broken}


def test_jsonl_rows_come_with_their_lines(tmp_path):
    rows = rows_of(tmp_path, "a.jsonl", '\ufeff{"a": 1}\n\n{"a": "x\u2028y"}\r\n{"a": null}')
    assert [(row.line, row.fields["a"]) for row in rows] == [(1, 1), (3, "x\u2028y"), (4, None)]
    assert not broken(rows)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"a": 1', "broken JSON: Expecting"),
        ('{"a": "cut off', "broken JSON: Unterminated string starting, column 7"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "broken JSON"),
        ('{"a": 1, "a": 2}', "a key appears twice"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": "\\ud800"}', "lone surrogate U+D800"),
        ('{"a": "x\\u0000y"}', "a NUL character"),
        ("[1, 2]", "expected an object {...}, found a list"),
        ("null", "found null"),
        (b'{"a": "\xff"}', "byte 8 of the line is not UTF-8"),
        (b'{"a": "caf\xe9"}', "not UTF-8"),
    ],
)
def test_a_line_that_is_not_strict_json_is_named_and_the_next_still_read(tmp_path, line, why):
    line = line if isinstance(line, bytes) else line.encode()
    rows = rows_of(tmp_path, "a.jsonl", b'{"ok": 1}\n' + line + b'\n{"ok": 2}\n')
    assert list(broken(rows)) == [2]
    assert why in broken(rows)[2]
    assert [row.fields for row in rows if not row.broken] == [{"ok": 1}, {"ok": 2}]


def test_a_gzip_cut_short_gives_its_whole_lines_and_says_that_the_rest_is_lost(tmp_path):
    whole = gzip.compress("".join(json.dumps({"a": n, "b": "x" * (n % 97)}) + "\n" for n in range(20_000)).encode())
    rows = rows_of(tmp_path, "a.jsonl.gz", whole[: len(whole) // 2])
    assert "the rest is lost" in rows[-1].broken
    good = [row.fields["a"] for row in rows[:-1]]
    assert len(good) > 1000
    assert good == list(range(len(good)))


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path):
    rows = rows_of(tmp_path, "a.jsonl", b'{"a": "' + b"x" * (MAX_LINE + 10))
    assert len(rows) == 1
    assert "more than 16 MiB" in rows[0].broken


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl", gzip.compress(b"{}"), "this file is gzipped"),
        ("a.jsonl.gz", b'{"a": 1}', "this file is not gzipped"),
        ("a.jsonl", b"PAR1xxxx", "this file is Parquet"),
        ("a.csv", "a,b".encode("utf-16"), "this file is UTF-16"),
        ("a.parquet", b"PAR1 no parquet at all", "damaged"),
        ("a.xlsx", b"", "the suffix '.xlsx' says no known format"),
        ("a", b"", "the suffix '' says no known format"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"a,a\n1,2\n", "appears twice in the header"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name, content, why):
    with pytest.raises(BadInput, match=why):
        rows_of(tmp_path, name, content)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        list(read_rows(tmp_path / "none.jsonl"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BadInput, match="not a file"):
        list(read_rows(tmp_path / "folder.jsonl"))


def test_csv_cells_are_text_but_conversations_and_lists_of_responses(tmp_path):
    content = (
        "prompt,responses,answer\n"
        '"[{""role"": ""user"", ""content"": ""Hi""}]","[""one"", ""two""]","[1, 2]"\n'
        '"two\nlines","[1]",true\n'
    )
    first, second = rows_of(tmp_path, "a.csv", content)
    assert first.fields == {
        "prompt": [{"role": "user", "content": "Hi"}],
        "responses": ["one", "two"],
        "answer": "[1, 2]",
    }
    assert (second.line, second.fields["prompt"], second.fields["answer"]) == (3, "two\nlines", "true")


@pytest.mark.parametrize(
    ("line", "why"),
    [(b"1,2,3", "3 cells, the header has 2"), (b"1", "1 cells"), (b'"a"b,2', "broken CSV"), (b"\xff,2", "not UTF-8")],
)
def test_a_csv_row_that_does_not_fit_is_named_and_the_next_still_read(tmp_path, line, why):
    rows = rows_of(tmp_path, "a.csv", b"a,b\nx,y\n" + line + b"\nz,w\n")
    assert list(broken(rows)) == [3]
    assert why in broken(rows)[3]
    assert [row.fields["a"] for row in rows if not row.broken] == ["x", "z"]


def test_an_open_quote_in_csv_is_an_error_and_not_one_long_cell(tmp_path):
    rows = rows_of(tmp_path, "a.csv", 'a,b\n1,2\n3,"open\n5,6\n')
    assert [row.fields.get("a") for row in rows if not row.broken] == ["1"]
    assert broken(rows)


def test_a_csv_cell_may_be_longer_than_the_modules_own_limit(tmp_path):
    (row,) = rows_of(tmp_path, "a.csv", "a,b\n" + "x" * 300_000 + ",1\n")
    assert len(row.fields["a"]) == 300_000


def test_plain_text_is_one_row_a_line(tmp_path):
    rows = rows_of(tmp_path, "a.txt", "one\r\n\ntwo")
    assert [(row.line, row.fields["text"]) for row in rows] == [(1, "one"), (2, ""), (3, "two")]


def test_parquet_rows_are_read_and_a_damaged_file_is_named(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"prompt": ["Hi", "Ho"], "chosen": [[{"role": "assistant", "content": "x"}], []]})
    parquet.write_table(table, tmp_path / "a.parquet")
    first, second = read_rows(tmp_path / "a.parquet")
    assert first.fields == {"prompt": "Hi", "chosen": [{"role": "assistant", "content": "x"}]}
    assert second.line == 2
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:60] = bytes(56)
    with pytest.raises(BadInput, match="damaged"):
        rows_of(tmp_path, "b.parquet", bytes(content))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_strict_json_reads_all_that_is_json(value):
    assert parse_json(json.dumps(value)) == value


@given(st.text())
def test_text_that_can_be_stored_has_no_problem(text):
    assert (text_problem({"x": [text]}) == "") == ("\x00" not in text)
