"""The Preference and its file."""

import json

import pytest
from pydantic import ValidationError

from annotate.errors import BadInput
from annotate.messages import as_messages
from annotate.preference import Preference, read_preferences, write_preferences


def preference(**fields):
    return Preference(
        prompt=as_messages("Why is the sky blue?"),
        chosen=as_messages("Rayleigh scattering.", "assistant"),
        rejected=as_messages("It is the sea.\u2028Really.", "assistant"),
        **fields,
    )


def test_a_file_of_preferences_reads_back_as_it_was(tmp_path):
    rows = [
        preference(),
        preference(soft_target=0.5, votes_tie=2, strength=1.5, labels=("u1", "u2"), annotators=("ann",), round=3),
        preference(chosen_shown_left=0.25, propensity=0.1, split="test", objective="safe"),
    ]
    path = tmp_path / "preferences.jsonl"
    assert write_preferences(path, rows) == 3
    assert list(read_preferences(path)) == rows


def test_the_same_preferences_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_preferences(tmp_path / name, [preference(source="x"), preference(round=1)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_swapping_a_tie_swaps_all_that_has_a_side():
    tie = preference(
        soft_target=0.5, votes_chosen=2, votes_rejected=1, chosen_id="c", rejected_id="r", chosen_model="m"
    )
    tie = tie.model_copy(update={"chosen_shown_left": 0.25})
    swapped = tie.swap()
    assert (swapped.chosen, swapped.rejected) == (tie.rejected, tie.chosen)
    assert (swapped.votes_chosen, swapped.votes_rejected) == (1, 2)
    assert (swapped.chosen_id, swapped.rejected_id, swapped.rejected_model) == ("r", "c", "m")
    assert swapped.chosen_shown_left == 0.75
    assert swapped.swap() == tie


@pytest.mark.parametrize(
    "fields", [{"soft_target": 0.4}, {"soft_target": float("nan")}, {"weight": -1}, {"strength": 4}, {"split": "dev"}]
)
def test_a_field_out_of_range_is_refused(fields):
    with pytest.raises(ValidationError):
        preference(**fields)


def test_a_broken_row_is_named_by_file_line_and_field(tmp_path):
    path = tmp_path / "preferences.jsonl"
    write_preferences(path, [preference()])
    row = json.loads(path.read_text())
    del row["chosen"]
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(BadInput, match=r"preferences\.jsonl, line 2: chosen: Field required"):
        list(read_preferences(path))


def test_bytes_that_are_no_text_and_a_missing_file_are_named_too(tmp_path):
    path = tmp_path / "preferences.jsonl"
    write_preferences(path, [preference()])
    path.write_bytes(path.read_bytes() + b'{"prompt": "\xff\xfe"}\n')
    with pytest.raises(BadInput, match="line 2"):
        list(read_preferences(path))
    with pytest.raises(BadInput, match="cannot be read"):
        list(read_preferences(tmp_path / "nowhere.jsonl"))
