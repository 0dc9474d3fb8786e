"""Which form a row is in, and the parser that reads it: the one place that knows all forms.

The kind that an import is told (`--as`) says what is wanted of a row; the form of a row is seen by its fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from annotate import argilla, labelstudio, rankings
from annotate.ballots import Ballot
from annotate.formats import PARSERS, USED, Kind

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How a form is recognised and read. used: the columns it is read for, None where any may hold something."""

    name: str
    fits: Callable[[Fields], bool]
    parse: Callable[[Fields], Ballot]
    used: frozenset[str] | None = None


def _has(*names: str) -> Callable[[Fields], bool]:
    return lambda row: all(name in row for name in names)


def _used(names: str) -> frozenset[str]:
    return frozenset(names.split()) | {"source", "objective", "prompt"}


FORMS: tuple[Form, ...] = (
    Form("Label Studio", labelstudio.is_task, labelstudio.parse_task),
    Form("Argilla", argilla.is_record, argilla.parse_record),
    Form(
        "HelpSteer3",
        lambda row: (
            _has("response1", "response2")(row) and ("individual_preference" in row or "overall_preference" in row)
        ),
        rankings.parse_helpsteer3,
        _used("context response1 response2 individual_preference overall_preference domain language"),
    ),
    Form(
        "HelpSteer2",
        _has("response_1", "response_2", "preference_strength"),
        rankings.parse_helpsteer2,
        _used(
            "response_1 response_2 preference_strength preference_statement preference_elaboration split "
            "three_most_similar_preferences all_preferences_unprocessed"
        ),
    ),
    Form("HelpSteer", _has("rows", "prompt"), rankings.parse_attributes, _used("rows")),
    Form(
        "UltraFeedback",
        _has("completions"),
        rankings.parse_ultrafeedback,
        _used("instruction completions models correct_answers incorrect_answers"),
    ),
    Form(
        "ratings",
        lambda row: "ratings" in row and ("responses" in row or "generations" in row),
        rankings.parse_ratings,
        _used("instruction responses generations ratings models model_names rationales annotator"),
    ),
    Form(
        "ranking",
        _has("ranking", "responses"),
        rankings.parse_ranking,
        _used(
            "responses ranking annotator order_shown strength both_bad criteria rationale edited flags guideline "
            "active_ms created_at uuid pair prompt_id round split supersedes"
        ),
    ),
)
"""Tried in this order, after the plain form of the kind."""


def form_of(kind: Kind, row: Fields) -> Form:
    """The form that a row is in: its kind's plain one, if it has that one's fields or no other's."""
    plain = Form(kind, _has(*_PLAIN[kind]), PARSERS[kind], frozenset(USED[kind]))
    return next((form for form in (plain, *FORMS) if form.fits(row)), plain)


_PLAIN = {
    "votes": ("response_a", "response_b"),
    "preferences": ("chosen", "rejected"),
    "pairs": ("prompt", "responses"),
}


def parse(kind: Kind, row: Fields) -> Ballot:
    """The ballot of a row; without its votes when it is to be labelled (kind pairs).

    Raises BadInput saying which field is wrong.
    """
    ballot = form_of(kind, row).parse(row)
    return replace(ballot, votes=()) if kind == "pairs" else ballot
