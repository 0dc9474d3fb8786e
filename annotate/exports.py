"""Export the ledger as JSONL, a line at a time, so that a million labels need no more memory than one.

Judgments name response ids here too: the side on which a response was shown only stands in order_shown.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlmodel import Session

from annotate.aggregate import SnapshotSection, judged_pairs, preferences, totals
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.prompts import all_prompts

What = Literal["preferences", "labels", "prompts"]


def export(ledger: Ledger, what: What) -> Iterator[str]:
    """Yield the lines of an export, each with its line end, all from one consistent state of the ledger.

    preferences: what a snapshot of all labels with the default section would hold. labels: every effective judgment,
    by pair. prompts: with split and group. Raises BadInput for anything else.
    """
    if what not in get_args(What):
        raise BadInput(f"expected one of {', '.join(get_args(What))}, found '{what}'", where="what")
    return _lines(ledger, {"preferences": _preferences, "labels": _labels, "prompts": _prompts}[what])


def _lines(ledger: Ledger, rows: Any) -> Iterator[str]:
    with ledger.read() as session:
        for row in rows(session):
            yield json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


def _preferences(session: Session) -> Iterator[dict[str, Any]]:
    section = SnapshotSection()
    scale = totals(session, section).scale
    for judged in judged_pairs(session):
        for made in preferences(judged, section):
            yield made.model_copy(update={"weight": made.weight * scale}).row()


def _labels(session: Session) -> Iterator[dict[str, Any]]:
    for judged in judged_pairs(session):
        for label in judged.labels:
            yield {
                "uuid": label.uuid,
                "slot": label.slot_id,
                "pair": judged.pair.id,
                "round": judged.pair.round,
                "objective": judged.pair.objective,
                "prompt_id": judged.prompt.id,
                "split": judged.prompt.split,
                "responses": [response.id for response in judged.responses],
                "models": [response.model for response in judged.responses],
                "annotator": label.annotator_id,
                "ranking": label.ranking,
                "strength": label.strength,
                "both_bad": label.both_bad,
                "criteria": label.criteria,
                "rationale": label.rationale,
                "edited": label.edited,
                "flags": label.flags,
                "order_shown": label.order_shown,
                "guideline": label.guideline_id,
                "created_at": datetime.fromtimestamp(label.created_at, UTC).isoformat(),
                "active_ms": label.active_ms,
                "supersedes": label.supersedes,
                "source": label.source,
            }


def _prompts(session: Session) -> Iterator[dict[str, Any]]:
    for prompt in all_prompts(session):
        yield {
            "id": prompt.id,
            "messages": prompt.messages,
            "split": prompt.split,
            "group": prompt.group,
            "family": prompt.family,
            "source": prompt.source,
        }
