"""A snapshot holds what the labels say, in the same bytes every time, and trainers take it as it is."""

import gzip
import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from annotate import queue
from annotate.errors import BadInput
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.preference import read_preferences
from annotate.snapshot import SnapshotSection, freeze, labels_in

DATA = Path(__file__).parents[2] / "shared" / "data" / "preferences"
TOPICS = ("whales", "engines", "bread", "gravity", "chess", "rivers", "bees", "clouds", "violins", "maps", "tides")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


@pytest.fixture
def freeze_rows(ledger, tmp_path):
    """Import rows and freeze; returns (folder, metrics)."""

    def freeze_rows(rows, kind="votes", section=None, name="snapshot", round=0):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        import_file(ledger, path, kind)
        out = tmp_path / name
        out.mkdir()
        return out, freeze(ledger, out, section or SnapshotSection(), round=round)

    return freeze_rows


def votes(count, annotators=("ann", "bob"), said="a"):
    return [
        {
            "prompt": f"{TOPICS[n % 11]} {n * 7919 % 10_007} {TOPICS[n // 11 % 11]} {n * 104_729 % 99_991}?",
            "response_a": f"A long answer {n}.",
            "response_b": f"Short {n}.",
            "annotator": annotator,
            "preference": said if isinstance(said, str) else said(n, annotator),
        }
        for n in range(count)
        for annotator in annotators
    ]


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


def json_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_snapshot_has_every_vote_and_every_preference_in_its_split(freeze_rows):
    folder, metrics = freeze_rows(votes(60, said=lambda n, who: "a" if n % 3 or who == "ann" else "tie"))
    rows = list(read_preferences(folder / "preferences.jsonl"))
    assert len(rows) == metrics["preferences"] == 60
    assert metrics["votes"] == len(labels_in(folder)) == len(set(labels_in(folder))) == 120
    for split in ("train", "validation", "test"):
        own = list(read_preferences(folder / f"{split}.jsonl"))
        assert own == [row for row in rows if row.split == split]
        assert len(own) == metrics[split] > 0
    assert Counter(row.soft_target for row in rows) == {1.0: 40, 0.75: 20}
    assert sum(row.weight for row in rows) == pytest.approx(60)
    assert {uuid for row in rows for uuid in row.labels} == set(labels_in(folder))


def test_votes_name_what_a_model_of_annotators_needs(freeze_rows):
    folder, _ = freeze_rows([{**votes(1, ("ann",), "b")[0], "shown_swapped": True, "strength": 2, "task_seconds": 4}])
    (row,) = json_rows(folder / "votes.jsonl")
    better, worse = row["ranking"][0][0], row["ranking"][1][0]
    assert row["order_shown"] == [better, worse]
    assert sorted(row["responses"]) == sorted([better, worse])
    assert dict(zip(row["responses"], row["characters"], strict=True)) == {better: 8, worse: 16}
    assert (row["annotator"], row["kind"], row["strength"], row["active_ms"]) == ("ann", "imported", 2, 4000)
    assert not {"created_at", "time"} & set(row), "no clock: two runs of the same loop would differ"


def test_the_same_votes_in_another_order_make_the_same_bytes(tmp_path):
    rows = votes(50, ("ann", "bob", "cy"), said=lambda n, who: "ab"[(n + len(who)) % 2])
    folders = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        random.Random(1).shuffle(rows)
        with Ledger.open(f"sqlite:///{tmp_path / name}.db", durable=False) as ledger:
            import_file(ledger, path, "votes", source="same")
            folders.append(tmp_path / f"snapshot {name}")
            folders[-1].mkdir()
            freeze(ledger, folders[-1], SnapshotSection())
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(
        ["README.md", "card.json", "preferences.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl", "votes.jsonl"]
    )
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_card_counts_and_hashes_what_lies_beside_it(freeze_rows):
    folder, metrics = freeze_rows(votes(40, said=lambda n, who: "a" if who == "ann" or n % 4 else "b"))
    card = card_of(folder)
    assert (card["preferences"], card["votes"], card["ties"]) == (40, 80, 10)
    assert card["annotators"] == {"count": 2, "imported": 2}
    assert card["query"] == {"rounds": "all", "min_votes": 1, "ties": "keep", "smoothing": 0.0, "objective": None}
    assert card["splits"] == {split: metrics[split] for split in ("train", "validation", "test")}
    assert card["agreement"]["raw"] == metrics["agreement"] == 0.75
    assert card["agreement"]["mean_over_pairs"]["low"] < 0.75 < card["agreement"]["mean_over_pairs"]["high"]
    assert card["warnings"] == []
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jsonl")}
    assert card["sha256"] == files


def test_what_the_section_leaves_out_is_counted(freeze_rows):
    rows = [*votes(10, ("ann",)), *votes(5, ("bob",), "b"), *votes(2, ("cy",))]
    same = {**rows[0], "response_b": rows[0]["response_a"], "annotator": "dee"}
    folder, metrics = freeze_rows([*rows, same], section=SnapshotSection(min_votes=2, ties="drop"))
    assert metrics["preferences"] == 2
    assert card_of(folder)["left_out"] == {"identical responses": 1, "ties": 3, "too few votes": 5}
    assert metrics["votes"] == 18, "votes on what is left out are frozen too"


def test_a_round_sees_its_own_labels_and_earlier_ones_only(ledger, tmp_path, freeze_rows):
    path = tmp_path / "sets.jsonl"
    for round in (1, 2):
        path.write_text(json.dumps({"prompt": f"Round {round}?", "responses": ["yes", "no"]}) + "\n")
        import_file(ledger, path, "pairs", round=round)
    ledger.write(lambda session: queue.register(session, "eve"))
    for number, task in enumerate(queue.claim(ledger, "eve", 5)):
        ranking = [[response.id] for response in task.responses]
        queue.submit(ledger, "eve", queue.Judgment(uuid=f"label-{number}-x", slot=task.slot, ranking=ranking))
    first, metrics = freeze_rows(votes(3), round=1)
    assert metrics["preferences"] == 4
    assert {row.round for row in read_preferences(first / "preferences.jsonl")} == {0, 1}
    assert freeze_rows(votes(3), round=2, name="second")[1]["preferences"] == 5
    assert freeze_rows(votes(3), round=0, name="all")[1]["preferences"] == 5
    assert card_of(first)["annotators"] == {"count": 3, "human": 1, "imported": 2}


def test_undone_revised_and_skipped_labels_are_not_frozen(ledger, tmp_path):
    path = tmp_path / "sets.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{t}?", "responses": ["yes", "no"]}) + "\n" for t in TOPICS[:4]))
    import_file(ledger, path, "pairs")
    ledger.write(lambda session: queue.register(session, "eve"))
    revised, undone, skipped, kept = queue.claim(ledger, "eve", 4)

    def judge(task, uuid, turn=1):
        ranking = [[response.id] for response in task.responses][::turn]
        return queue.Judgment(uuid=uuid, slot=task.slot, ranking=ranking)

    queue.submit(ledger, "eve", judge(revised, "revised-1"))
    queue.revise(ledger, "eve", "revised-1", judge(revised, "revised-2", -1))
    queue.submit(ledger, "eve", judge(undone, "undone-11"))
    queue.undo(ledger, "eve", "undone-11")
    queue.skip(ledger, "eve", skipped.slot, "skipped-1", "cannot tell")
    queue.submit(ledger, "eve", judge(kept, "kept-1111"))
    out = tmp_path / "snapshot"
    out.mkdir()
    freeze(ledger, out, SnapshotSection())
    assert sorted(labels_in(out)) == ["kept-1111", "revised-2"]
    chosen = {row.prompt[0].text: row.chosen_id for row in read_preferences(out / "preferences.jsonl")}
    assert chosen[revised.prompt[0]["content"]] == revised.responses[-1].id


def test_without_labels_the_next_command_is_named(ledger, tmp_path):
    with pytest.raises(BadInput, match=r"no labels to freeze.*trueloop annotate, or trueloop import"):
        freeze(ledger, tmp_path, SnapshotSection())
    assert not (tmp_path / "card.json").exists()


def test_when_the_section_leaves_nothing_it_is_said_why(freeze_rows):
    with pytest.raises(BadInput, match=r"all judged pairs are left out \(3 for ties\).*snapshot\.ties=keep"):
        freeze_rows(votes(3, said="tie"), section=SnapshotSection(ties="drop"))
    with pytest.raises(BadInput, match=r"3 for too few votes.*min_votes=1"):
        freeze_rows([], section=SnapshotSection(min_votes=9), name="other")


def test_all_ties_are_frozen_with_a_warning(freeze_rows):
    folder, metrics = freeze_rows(votes(5, said="tie"))
    assert metrics["ties"] == metrics["preferences"] == 5
    assert metrics["alpha"] is None
    assert "every pair is a tie" in card_of(folder)["warnings"][0]


def test_a_single_annotator_is_warned_about_and_agreement_left_open(freeze_rows):
    folder, metrics = freeze_rows(votes(5, ("ann",)))
    assert metrics["agreement"] is metrics["ceiling"] is None
    assert "a single annotator" in card_of(folder)["warnings"][0]
    json.loads((folder / "card.json").read_text(), parse_constant=pytest.fail)


def test_two_annotators_who_never_met_are_warned_about(freeze_rows):
    folder, _ = freeze_rows([*votes(3, ("ann",)), *votes(6, ("bob",))[3:]])
    assert "no pair has two labels" in card_of(folder)["warnings"][0]


def test_a_snapshot_imported_elsewhere_is_the_same_preferences(freeze_rows, tmp_path):
    folder, _ = freeze_rows(votes(40, ("ann", "bob", "cy"), said=lambda n, who: ["a", "b", "tie"][(n * len(who)) % 3]))
    again = tmp_path / "again"
    again.mkdir()
    with Ledger.open(f"sqlite:///{tmp_path / 'other.db'}", durable=False) as other:
        import_file(other, folder / "preferences.jsonl", "preferences")
        freeze(other, again, SnapshotSection())

    def said(path):
        rows = read_preferences(path / "preferences.jsonl")
        ties = {row.pair: sorted([row.chosen_id, row.rejected_id]) for row in rows if row.is_tie}
        kept = ("prompt", "chosen", "rejected", "soft_target", "votes_tie", "split", "group", "pair", "weight")
        rows = read_preferences(path / "preferences.jsonl")
        return [row.model_dump(include=set(kept)) for row in rows if not row.is_tie], ties

    assert said(again) == said(folder)


@pytest.mark.parametrize("name", ["openinstruct", "hh_harmless"])
def test_real_preferences_come_out_as_they_went_in(ledger, tmp_path, name):
    path = DATA / f"{name}_pairs.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared preference data is not here")
    import_file(ledger, path, "preferences")
    freeze(ledger, tmp_path, SnapshotSection())
    with gzip.open(path, "rt", encoding="utf-8") as file:
        expected = {
            tuple(row[side][-1]["content"] for side in ("prompt", "chosen", "rejected"))
            for row in map(json.loads, file)
        }
    rows = list(read_preferences(tmp_path / "preferences.jsonl"))
    found = {(row.prompt[-1].text, row.chosen[0].text, row.rejected[0].text) for row in rows if not row.is_tie}
    assert found <= expected
    ties = {(row.prompt[-1].text, *sorted((row.chosen[0].text, row.rejected[0].text))) for row in rows if row.is_tie}
    missing = {(prompt, *sorted(two)) for prompt, *two in expected - found}
    # Prompts that differ only in white space are one, and pairs told twice with different winners are ties.
    assert len(missing - ties) <= 3


def load(folder, *names):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets.load_dataset(*names, cache_dir=str(folder / "cache"))


def test_datasets_loads_the_folder_with_its_splits(freeze_rows, tmp_path):
    folder, metrics = freeze_rows(votes(40))
    data = load(tmp_path, str(folder))
    assert {name: len(rows) for name, rows in data.items()} == {s: metrics[s] for s in ("train", "validation", "test")}
    assert data["train"][0]["prompt"][0]["role"] == "user"
    assert load(tmp_path, str(folder), "votes")["train"].num_rows == 80


def test_a_column_that_is_empty_in_one_split_does_not_stop_datasets(freeze_rows, tmp_path):
    """Without types in README.md, `strength` would be null in one split and a number in another."""
    plain, _ = freeze_rows(votes(40), name="plain")
    in_test = {row["prompt"][0]["content"] for row in json_rows(plain / "test.jsonl")}
    graded = [{**row, "annotator": "cy", "strength": 2} for row in votes(40, ("ann",)) if row["prompt"] in in_test]
    folder, _ = freeze_rows(graded)
    data = load(tmp_path, str(folder))
    assert data["train"][0]["strength"] is None
    assert data["test"][0]["strength"] == 2.0


def test_a_snapshot_of_one_split_loads_too(freeze_rows, tmp_path):
    folder, metrics = freeze_rows(votes(1))
    data = load(tmp_path, str(folder))
    assert list(data) == [split for split in ("train", "validation", "test") if metrics[split]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A two-layer model and a tokenizer made on the spot."""
    pytest.importorskip("trl")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = ["<pad>", "<eos>", *(chr(code) for code in range(10, 127))]
    tokens = Tokenizer(models.WordLevel({token: place for place, token in enumerate(characters)}, unk_token="<pad>"))
    tokens.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}"
    )
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(characters), pad_token_id=0, eos_token_id=1, bos_token_id=None, **size)
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("trainer", ["reward", "dpo"])
@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_trl_trains_on_the_rows_as_they_are(freeze_rows, tmp_path, tiny, trainer):
    import trl
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    folder, _ = freeze_rows(votes(40, said=lambda n, who: "a" if n % 5 else "tie"))
    data = load(tmp_path, "json", None, None, str(folder / "preferences.jsonl"))["train"]
    options = {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    if trainer == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
        run = trl.RewardTrainer(model, trl.RewardConfig(**options), train_dataset=data, processing_class=tokenizer)
    else:
        model = AutoModelForCausalLM.from_pretrained(tiny)
        run = trl.DPOTrainer(model, args=trl.DPOConfig(**options), train_dataset=data, processing_class=tokenizer)
    result = run.train()
    assert result.global_step == 2
    assert 0.1 < result.training_loss < 2
