"""Prompts: cleaned with a report, deduplicated, split by group once and for all."""

import gzip
import json
from pathlib import Path

import pytest
from sqlmodel import select

from annotate.errors import BadInput, MissingExtra, NotFound
from annotate.ledger import Ledger
from annotate.messages import as_messages
from annotate.prompts import (
    PromptsSection,
    add_prompts,
    all_prompts,
    count_prompts,
    import_prompts,
    problem,
    split_of,
    splits_of,
)
from annotate.tables import Prompt

DATA = Path(__file__).parents[2] / "shared" / "data" / "preferences"
TOPICS = (
    "whales",
    "engines",
    "bread",
    "gravity",
    "chess",
    "rivers",
    "bees",
    "clouds",
    "violins",
    "maps",
    "tides",
    "comets",
)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def question(number: int) -> str:
    """Questions no two of which are near-duplicates."""
    first, second = TOPICS[number % 12], TOPICS[number // 12 % 12]
    return f"{first} {number * 7919 % 10_007} {second} {number * 104_729 % 99_991}?"


def stored(ledger) -> list[Prompt]:
    with ledger.read() as session:
        return list(all_prompts(session))


def test_prompts_of_every_format_are_the_same_prompts(ledger, tmp_path):
    texts = [f"{question(n)} and\ttabs" for n in range(20)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": text} for text in texts])
    write_jsonl(tmp_path / "b.jsonl", [{"messages": [{"role": "user", "content": text}]} for text in texts])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
    assert import_prompts(ledger, tmp_path / "a.txt").stored == 20
    for name in ("a.jsonl", "b.jsonl", "a.jsonl.gz", "a.csv"):
        report = import_prompts(ledger, tmp_path / name)
        assert (report.read, report.stored, report.duplicates, report.rejected) == (20, 0, 20, []), name


def test_parquet_and_datasets_are_read_too(ledger, tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list([{"instruction": question(n), "input": "", "label": n} for n in range(10)])
    data.to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": data, "dev": data.select(range(3))}).save_to_disk(str(tmp_path / "dict"))
    assert import_prompts(ledger, tmp_path / "a.parquet").stored == 10
    report = import_prompts(ledger, tmp_path / "saved")
    assert (report.duplicates, report.counts["ignored_columns"]) == (10, ["label"])
    assert import_prompts(ledger, str(tmp_path / "dict"), dataset_split="dev").read == 3
    with pytest.raises(NotFound, match="no split 'test', only train, dev"):
        import_prompts(ledger, str(tmp_path / "dict"), dataset_split="test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="`datasets` cannot load this"):
        import_prompts(ledger, tmp_path / "empty")


def test_without_the_library_the_install_line_is_named(ledger, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trueloop\[train\]'"):
        import_prompts(ledger, "somebody/prompts")


def test_a_missing_file_is_no_name_of_a_data_set(ledger, tmp_path):
    for source in (tmp_path / "none.jsonl", "none.txt.gz", str(tmp_path / "none")):
        with pytest.raises(NotFound, match="no such file"):
            import_prompts(ledger, source)


def test_broken_json_on_line_5000_stops_everything_and_is_named(ledger, tmp_path):
    lines = [json.dumps({"prompt": question(n)}) for n in range(6000)]
    lines[4999] = lines[4999][:-3]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(BadInput, match=r"a\.jsonl, line 5000: broken JSON.*--keep-going"):
        import_prompts(ledger, tmp_path / "a.jsonl")
    assert stored(ledger) == []
    report = import_prompts(ledger, tmp_path / "a.jsonl", strict=False)
    assert (report.read, report.stored) == (6000, 5999)
    assert [row["line"] for row in report.rejected] == [5000]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("x" * 101, "too long: 101 characters, at most 100"),
        ("caf\ufffd", "broken encoding: a replacement character"),
        ("What is a cafÃ©?", "broken encoding: UTF-8 that was read as Windows-1252"),
        ("Itâ€™s broken", "broken encoding: UTF-8 that was read as Windows-1252"),
        ("ring the \x07 bell", "broken encoding: a control character U+0007"),
        ("<p>Tell me</p> about whales", "HTML remains: <p>"),
        ('<div class="q">Tell me\n</DIV>', "HTML remains: <div>"),
        ("one<br/>two", "HTML remains: <br/>"),
        ("fish &amp; chips", "HTML remains: &amp;"),
        ("a&nbsp;b and &#8217;", "HTML remains: &nbsp;"),
    ],
)
def test_the_cleaning_refuses_with_a_reason(text, why):
    assert problem(as_messages(text), PromptsSection(max_chars=100)).startswith(why)


@pytest.mark.parametrize(
    "text",
    [
        "Is 3 < 5 and 7 > 2?",
        "What does `<p>x</p>` do?",
        "Mend this:\n```html\n<div>a&nbsp;b</div>\n```",
        "Replace the <mask> token.",
        "Tabs\tand lines\nare fine",
        "Qu'est-ce que c'est, un café à Orléans? “Oui” – 20 €",
        "布洛芬和对乙酰氨基酚的区别是？",
        "x" * 100,
        "R&D at AT&T",
    ],
)
def test_the_cleaning_takes_what_only_looks_odd(text):
    assert problem(as_messages(text), PromptsSection(max_chars=100)) == ""


def test_html_may_be_kept_where_it_is_meant():
    assert problem(as_messages("<p>x</p>"), PromptsSection(html="keep")) == ""


def test_what_is_refused_stands_in_the_report_and_the_rest_is_stored(ledger, tmp_path):
    rows = [{"prompt": "Why?"}, {"prompt": " "}, {"prompt": "<p>x</p>"}, {"prompt": "Who?", "topic": 1}, {"text": ""}]
    report = import_prompts(ledger, write_jsonl(tmp_path / "a.jsonl", rows)).as_dict()
    assert (report["read"], report["stored"], report["duplicates"]) == (5, 2, 0)
    assert [(row["line"], row["why"].split(":")[0]) for row in report["rejected"]] == [
        (2, "empty"),
        (3, "HTML remains"),
        (5, "empty"),
    ]
    assert report["ignored_columns"] == ["topic"]
    text = tmp_path / "a.txt"
    text.write_bytes(b"Where?\n\nWhen?\ncaf\xe9\n")
    assert [(row["line"], row["why"].split(":")[0]) for row in import_prompts(ledger, text).rejected] == [
        (2, "empty"),
        (4, "broken encoding"),
    ]


def test_a_second_import_is_counted_and_doubles_nothing(ledger, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "Why?"}, {"prompt": "why?  "}, {"prompt": "Who?"}])
    first = import_prompts(ledger, path)
    assert (first.stored, first.duplicates) == (2, 1)
    assert (import_prompts(ledger, path).stored, import_prompts(ledger, path).duplicates) == (0, 3)
    assert len(stored(ledger)) == 2


NEAR = [
    f"Tell me in a few friendly words what the old {thing} by the harbour is good for." for thing in ("mill", "mall")
]


def test_near_duplicates_share_group_and_split_and_are_counted(ledger):
    report = add_prompts(ledger, [(as_messages(text), "harbour") for text in [*NEAR, "Why?"]], source="test")
    assert (report.stored, report.counts["near_duplicates"]) == (3, 1)
    mill, mall, why = (next(row for row in stored(ledger) if row.text == text) for text in [*NEAR, "Why?"])
    assert mall.group == mill.group == mill.id != why.group
    assert mall.split == mill.split
    assert (mill.family, mill.source) == ("harbour", "test")


def test_near_duplicates_may_be_dropped(ledger):
    section = PromptsSection(near_duplicates="drop")
    report = add_prompts(ledger, [(as_messages(text), "") for text in [*NEAR, "Why?"]], section, source="test")
    assert (report.stored, report.counts["near_duplicates_dropped"]) == (2, 1)
    assert {row.text for row in stored(ledger)} == {NEAR[0], "Why?"}


def test_a_near_duplicate_that_comes_another_day_joins_the_group_it_finds(ledger, tmp_path):
    add_prompts(ledger, [(as_messages(NEAR[0]), "")], source="test")
    import_prompts(ledger, write_jsonl(tmp_path / "a.jsonl", [{"prompt": NEAR[1]}]))
    assert len({(row.group, row.split) for row in stored(ledger)}) == 1


def test_the_threshold_decides_what_is_near(ledger):
    add_prompts(ledger, [(as_messages(text), "") for text in NEAR], PromptsSection(near=0.99), source="test")
    assert len({row.group for row in stored(ledger)}) == 2


def test_conversations_are_grouped_by_their_root_and_no_near_duplicates_for_that(ledger):
    root = {"role": "user", "content": "Tell me about the old harbour and its mills."}
    ends = ["And the mall?", "Who sails there in winter, and with whom, and what for? Tell me all of it, please."]
    talks = [[root, {"role": "assistant", "content": "Gladly."}, {"role": "user", "content": end}] for end in ends]
    section = PromptsSection(near_duplicates="drop")
    report = add_prompts(ledger, [(as_messages(talk), "") for talk in [[root], *talks]], section, source="test")
    assert (report.stored, report.counts["near_duplicates"]) == (3, 0)
    assert len({(row.group, row.split) for row in stored(ledger)}) == 1


def test_the_split_is_seventy_fifteen_fifteen_and_later_prompts_move_none(ledger):
    add_prompts(ledger, [(as_messages(question(n)), "") for n in range(2000)], source="first")
    before = {row.id: (row.group, row.split) for row in stored(ledger)}
    with ledger.read() as session:
        counts = count_prompts(session)
    assert counts["prompts"] == counts["groups"] == 2000
    assert abs(counts["train"] - 1400) < 70
    assert abs(counts["validation"] - 300) < 55
    add_prompts(ledger, [(as_messages(question(n)), "") for n in range(1500, 3000)], source="second")
    after = {row.id: (row.group, row.split) for row in stored(ledger)}
    assert len(after) == 3000
    assert {key: after[key] for key in before} == before


def test_other_shares_hold_for_new_groups_only(ledger):
    add_prompts(ledger, [(as_messages(NEAR[0]), "")], source="a")
    kept = stored(ledger)[0].split
    everything = {"train": (0.0, 0.0, 1.0), "validation": (0.0, 0.0, 1.0), "test": (1.0, 0.0, 0.0)}[kept]
    section = PromptsSection(split=everything)
    add_prompts(ledger, [(as_messages(text), "") for text in (NEAR[1], "Why?")], section, source="b")
    splits = {row.text: row.split for row in stored(ledger)}
    assert splits[NEAR[1]] == kept
    assert splits["Why?"] == ("train" if kept == "test" else "test")


def test_a_split_belongs_to_the_group_alone():
    shares = (0.7, 0.15, 0.15)
    assert [split_of(f"group {n}", shares) for n in (0, 1, 2, 8, 9)] == [
        *["train"] * 2,
        "validation",
        "test",
        "validation",
    ]
    assert {split_of(f"g{n}", (0, 1, 0)) for n in range(50)} == {"validation"}


@pytest.mark.parametrize("split", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_shares_that_are_none_are_refused(split):
    with pytest.raises(ValueError, match="three shares"):
        PromptsSection(split=split)


def test_real_prompts_come_in_whole_but_for_what_is_reported(ledger):
    if not DATA.exists():
        pytest.skip("the shared preference data is not here")
    report = import_prompts(ledger, DATA / "prompts.jsonl.gz")
    assert (report.read, report.stored + report.duplicates + len(report.rejected)) == (846, 846)
    assert report.stored >= 840


def test_prompts_are_in_the_order_of_their_ids(ledger):
    add_prompts(ledger, [(as_messages(question(n)), "") for n in range(50)], source="test")
    with ledger.read() as session:
        ids = [row.id for row in all_prompts(session)]
        assert ids == sorted(session.exec(select(Prompt.id)).all())


def test_a_demonstration_has_the_split_its_prompt_has_or_would_get(ledger):
    """Known prompts, near-duplicates of known ones, and prompts nobody imported yet, whose import changes nothing."""
    section = PromptsSection()
    asked = [as_messages(question(number)) for number in range(300)]
    add_prompts(ledger, [(messages, "") for messages in asked[:150]], section, source="test")
    near = [as_messages(f"{messages[0].text}!") for messages in asked[:20]]
    with ledger.read() as session:
        foreseen = splits_of(session, [*asked, *near, asked[0]], section)
    assert len(stored(ledger)) == 150
    add_prompts(ledger, [(messages, "") for messages in [*asked, *near]], section, source="test")
    split = {prompt.text: prompt.split for prompt in stored(ledger)}
    assert foreseen == [split[messages[0].text] for messages in [*asked, *near, asked[0]]]
    assert foreseen[300:320] == foreseen[:20]
    assert {"train", "validation", "test"} == set(foreseen[150:300])
