"""Others' data comes in whole: every vote kept, nothing doubled, nothing half stored."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from sqlmodel import func, select

from annotate import queue
from annotate.errors import BadInput, NotFound
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.prompts import PromptsSection
from annotate.tables import Annotator, Label, Pair, PairResponse, Prompt, Response, Slot

DATA = Path(__file__).parents[2] / "shared" / "data" / "preferences"
VOTE = {"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "annotator": "ann", "preference": "a"}
PAIR = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture
def bring(ledger, tmp_path):
    """Write rows to a file and import it."""

    def bring(rows, kind="votes", name="rows.jsonl", **options):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return import_file(ledger, path, kind, **options)

    return bring


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip("the shared preference data is not here")
    return path


def everything(ledger, table):
    with ledger.read() as session:
        return list(session.exec(select(table)))


def counts(ledger) -> dict[str, int]:
    with ledger.read() as session:
        tables = (Prompt, Response, Pair, PairResponse, Label, Annotator, Slot)
        return {table.__tablename__: session.exec(select(func.count()).select_from(table)).one() for table in tables}


def texts_of(ledger) -> dict[str, str]:
    return {row.id: row.text for row in everything(ledger, Response)}


def test_a_vote_is_stored_with_all_it_says(ledger, bring):
    row = {
        **VOTE,
        "preference": "b",
        "strength": "clear",
        "shown_swapped": True,
        "model_a": "m1",
        "model_b": "m2",
        "acceptable_a": "no",
        "acceptable_b": "no",
        "rationale": "shorter",
        "task_seconds": 3,
        "submitted_at": "2023-05-19T13:11:45",
        "source": "set",
    }
    report = bring([row]).as_dict()
    assert {name: report[name] for name in ("read", "stored", "duplicates", "rejected", "labels")} == {
        "read": 1,
        "stored": 1,
        "duplicates": 0,
        "rejected": [],
        "labels": 1,
    }
    (label,) = everything(ledger, Label)
    texts = texts_of(ledger)
    assert [[texts[one] for one in tied] for tied in label.ranking] == [["No."], ["Because."]]
    assert [texts[one] for one in label.order_shown] == ["No.", "Because."]
    assert (label.annotator_id, label.strength, label.rationale, label.active_ms) == ("ann", 2, "shorter", 3000)
    assert (label.created_at, label.both_bad, label.slot_id) == (1_684_501_905.0, True, None)
    assert sorted(label.criteria["acceptable"].values()) == [False, False]
    (annotator,) = everything(ledger, Annotator)
    assert (annotator.kind, annotator.active) == ("imported", True)
    (pair,) = everything(ledger, Pair)
    assert (pair.round, pair.strategy, pair.source, pair.overlap) == (0, "imported", "set", 0)
    assert {row.model: row.text for row in everything(ledger, Response)} == {"m1": "Because.", "m2": "No."}


def test_a_second_import_doubles_nothing(ledger, bring):
    rows = [{**VOTE, "annotator": name} for name in ("ann", "bob", "cy")]
    assert bring(rows).stored == 3
    before = counts(ledger)
    again = bring(rows, name="copy_of_rows.jsonl")
    assert (again.read, again.stored, again.duplicates, again.counts["labels"]) == (3, 0, 3, 0)
    assert counts(ledger) == before


def test_a_line_that_stands_twice_in_a_file_is_one_vote(ledger, bring):
    report = bring([VOTE, VOTE, {**VOTE, "annotator": "bob"}])
    assert (report.stored, report.duplicates) == (2, 1)


def test_a_file_that_grew_adds_what_is_new(ledger, bring):
    rows = [{**VOTE, "prompt": f"Why {n}?"} for n in range(1500)]
    bring(rows[:1200])
    report = bring(rows)
    assert (report.stored, report.duplicates) == (300, 1200)
    assert counts(ledger)["label"] == 1500


def test_a_pair_told_from_the_other_side_is_the_same_pair(ledger, bring):
    swapped = {**VOTE, "response_a": "No.", "response_b": "Because.", "preference": "b", "annotator": "bob"}
    bring([VOTE, swapped])
    assert counts(ledger)["pair"] == 1
    first, second = everything(ledger, Label)
    assert first.ranking == second.ranking, "both say that Because. is better"


def test_one_person_may_judge_a_pair_more_than_once_and_no_vote_is_lost(ledger, bring):
    times = ("2023-05-19T10:00:00", "2023-05-19T11:00:00", "2023-05-20T10:00:00")
    rows = [{**VOTE, "preference": said, "submitted_at": at} for said, at in zip("aab", times, strict=True)]
    assert bring(rows).counts["labels"] == 3
    with ledger.read() as session:
        assert len(list(queue.current_labels(session))) == 3


def test_two_equal_responses_by_two_models_stay_two(ledger, bring):
    report = bring([{**VOTE, "response_b": "Because.", "model_a": "m1", "model_b": "m2"}])
    assert (counts(ledger)["response"], report.counts["identical_responses"]) == (2, 1)


def test_a_vote_on_one_text_twice_keeps_its_sides(ledger, bring):
    bring([{**VOTE, "response_b": "Because."}, {**VOTE, "response_b": "Because.", "annotator": "bob"}])
    first, second = everything(ledger, Label)
    assert len({one for tied in first.ranking for one in tied}) == 2
    assert first.ranking == second.ranking
    assert counts(ledger)["pair"] == 1


def test_nothing_is_imported_when_a_row_is_bad_and_the_error_names_it(ledger, bring):
    rows = [{**VOTE, "prompt": f"Why {n}?"} for n in range(2500)]
    rows[2100] = {**VOTE, "preference": "left"}
    with pytest.raises(BadInput, match=r"rows\.jsonl, line 2101: preference.*Nothing was imported.*--keep-going"):
        bring(rows)
    assert set(counts(ledger).values()) == {0}


def test_good_rows_are_kept_on_demand_and_the_bad_ones_listed(ledger, bring):
    rows = [VOTE, '{"prompt": "Why?', {**VOTE, "annotator": None}, {**VOTE, "annotator": "bob"}, "7"]
    report = bring(rows, keep_going=True)
    assert (report.read, report.stored) == (5, 2)
    assert [(row["line"], row["why"].split(":")[0]) for row in report.rejected] == [
        (2, "broken JSON"),
        (3, "annotator"),
        (5, "expected an object {...}, found a number"),
    ]


def test_nobodys_record_is_written_by_a_file(ledger, bring):
    ledger.write(lambda session: queue.register(session, "ann"))
    report = bring([VOTE, {**VOTE, "annotator": "bob"}])
    assert report.stored == 1
    assert report.rejected == [
        {"line": 1, "why": "annotator: 'ann' is an account of this workspace; rename it in the file"}
    ]
    assert [label.annotator_id for label in everything(ledger, Label)] == ["bob"]


def test_unused_columns_and_odd_responses_are_reported(bring):
    report = bring([{**VOTE, "mood": 1, "response_b": ""}, {**VOTE, "x" * 3: 1, "response_b": "y" * 10_000}])
    assert report.counts["ignored_columns"] == ["mood", "xxx"]
    assert (report.counts["empty_responses"], report.stored) == (1, 2)


def test_counted_votes_become_labels(ledger, bring):
    row = {**PAIR, "votes_chosen": 2, "votes_rejected": 1, "votes_tie": 1, "source": "set"}
    report = bring([row, {**PAIR, "prompt": "Who?"}], "preferences")
    assert (report.stored, report.counts["labels"]) == (2, 5)
    assert bring([row], "preferences").duplicates == 1
    assert Counter(label.annotator_id.split("#")[0] for label in everything(ledger, Label)) == {"set": 4, "import": 1}


def test_a_csv_of_votes_is_as_good(ledger, tmp_path):
    with (tmp_path / "votes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*VOTE, "strength", "shown_swapped", "submitted_at", "task_seconds"])
        writer.writeheader()
        writer.writerow({**VOTE, "response_a": 'two\nlines, "quoted"', "shown_swapped": True, "strength": ""})
        writer.writerow({**VOTE, "annotator": "bob", "strength": 3, "task_seconds": "1.5", "response_b": ""})
    assert import_file(ledger, tmp_path / "votes.csv", "votes").stored == 2
    labels = {label.annotator_id: label for label in everything(ledger, Label)}
    assert texts_of(ledger)[labels["ann"].ranking[0][0]] == 'two\nlines, "quoted"'
    assert labels["ann"].order_shown == [labels["ann"].ranking[1][0], labels["ann"].ranking[0][0]]
    assert (labels["bob"].strength, labels["bob"].active_ms) == (3, 1500)


def test_a_parquet_of_preferences_is_as_good(ledger, tmp_path):
    datasets = pytest.importorskip("datasets")
    turns = {
        name: [{"role": role, "content": PAIR[name]}]
        for name, role in zip(PAIR, ("user", "assistant", "assistant"), strict=True)
    }
    datasets.Dataset.from_list([turns, {**turns, "prompt": [{"role": "user", "content": "Who?"}]}]).to_parquet(
        tmp_path / "a.parquet"
    )
    assert import_file(ledger, tmp_path / "a.parquet", "preferences").stored == 2
    assert sorted(texts_of(ledger).values()) == sorted(["Because.", "No."] * 2)


def test_unlabelled_sets_go_straight_into_the_queue(ledger, bring):
    rows = [
        {"prompt": "Why?", "responses": ["Because.", "No."]},
        {"prompt": "Who?", "responses": ["I.", "You.", "They."], "models": ["a", "b", "c"]},
        {"prompt": "why? ", "responses": ["No.", "Because."]},
    ]
    report = bring(rows, "pairs", round=3, overlap=2)
    assert (report.read, report.stored, report.duplicates) == (3, 2, 1)
    assert {pair.round for pair in everything(ledger, Pair)} == {3}
    ledger.write(lambda session: queue.register(session, "ann"))
    tasks = queue.claim(ledger, "ann", 5)
    assert sorted(len(task.responses) for task in tasks) == [2, 3]
    with ledger.read() as session:
        assert queue.progress(session).need == 4
    task = next(task for task in tasks if len(task.responses) == 3)
    assert {one.text for one in task.responses} == {"I.", "You.", "They."}


def test_pairs_enter_the_first_round_when_no_snapshot_was_made(ledger, bring):
    bring([{"prompt": "Why?", "responses": ["Because.", "No."]}], "pairs")
    assert everything(ledger, Pair)[0].round == 1


def test_judged_pairs_ask_nobody_anything(ledger, bring):
    bring([VOTE])
    ledger.write(lambda session: queue.register(session, "eve"))
    assert queue.claim(ledger, "eve") == []
    with ledger.read() as session:
        assert queue.count_labels(session, 1) == (0, 0)


def test_prompts_of_votes_share_the_groups_of_the_prompts_that_are_here(ledger, bring):
    texts = [
        f"Tell me in a few friendly words what the old {what} by the harbour is good for." for what in ("mill", "mall")
    ]
    bring([{"prompt": texts[0]}], "prompts")
    bring([{**VOTE, "prompt": texts[1]}], section=PromptsSection(near_duplicates="drop"))
    assert len({(prompt.group, prompt.split) for prompt in everything(ledger, Prompt)}) == 1
    assert counts(ledger)["prompt"] == 2, "a vote's prompt is never dropped"


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("rows.jsonl", "ratings", "expected one of votes, preferences, prompts, pairs, found 'ratings'"),
        ("rows.txt", "votes", "the suffix '.txt' says no known format"),
    ],
)
def test_what_cannot_be_imported_at_all_is_refused(bring, name, kind, error):
    with pytest.raises(BadInput, match=error):
        bring([VOTE], kind, name)


def test_a_missing_file_is_named(ledger, tmp_path):
    with pytest.raises(NotFound, match=r"none\.jsonl: there is no such file"):
        import_file(ledger, tmp_path / "none.jsonl", "votes")


def test_progress_counts_the_rows(bring):
    told = []
    bring(
        [{**VOTE, "prompt": f"Why {n}?"} for n in range(2300)],
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told == [("votes", 1000, 2300), ("votes", 2000, 2300), ("votes", 2300, 2300)]


@pytest.mark.parametrize(
    ("name", "kind", "rows", "labels"),
    [
        ("openinstruct_annotations", "votes", 681, 681),
        ("llmfao_annotations", "votes", 3420, 3420),
        ("openinstruct_pairs", "preferences", 392, 441),
        ("hh_harmless_pairs", "preferences", 1376, 1376),
    ],
)
def test_real_judgments_come_in_to_the_last_vote(ledger, name, kind, rows, labels):
    path = real(f"{name}.jsonl.gz")
    report = import_file(ledger, path, kind)
    assert (report.read, report.stored, report.duplicates, report.rejected) == (rows, rows, 0, [])
    assert report.counts["labels"] == labels == counts(ledger)["label"]
    again = import_file(ledger, path, kind)
    assert (again.stored, again.duplicates) == (0, rows)
    assert ledger.check() == []


def test_real_votes_mean_after_the_import_what_they_meant_before(ledger):
    path = real("openinstruct_annotations.jsonl.gz")
    import_file(ledger, path, "votes")
    prompts = {row.id: row.text for row in everything(ledger, Prompt)}
    texts = texts_of(ledger)
    pairs = {row.id: row for row in everything(ledger, Pair)}
    found = Counter(
        (
            label.annotator_id,
            " ".join(prompts[pairs[label.pair_id].prompt_id].casefold().split()),
            "tie" if len(label.ranking) == 1 else texts[label.ranking[0][0]],
            texts[label.order_shown[0]],
            label.strength,
        )
        for label in everything(ledger, Label)
    )
    expected: Counter[tuple[object, ...]] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            left = row["response_b"] if row["shown_swapped"] else row["response_a"]
            better = "tie" if row["preference"] == "tie" else row[f"response_{row['preference']}"]
            strength = {"clear": 2, "slight": 1, None: None}[row["strength"]]
            expected[row["annotator"], " ".join(row["prompt"].casefold().split()), better, left, strength] += 1
    assert found == expected


@pytest.mark.slow
def test_fifty_thousand_votes_come_in_to_the_last(ledger):
    report = import_file(ledger, real("convarg_annotations.jsonl.gz"), "votes")
    assert (report.read, report.stored, report.counts["labels"]) == (51108, 51108, 51108)
    assert counts(ledger)["annotator"] == 3281
