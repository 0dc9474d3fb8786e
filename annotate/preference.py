"""The Preference: one judged pair, and the file that holds many. What every trainer reads.

From here on a pair has a chosen and a rejected side. Rows are plain JSON that `datasets.load_dataset` and TRL's
trainers take as they are. How preferences are made from labels is annotate/snapshot.py's business.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotate.errors import BadInput
from annotate.messages import Message, to_dicts

Split = Literal["train", "validation", "test"]


class Rating(BaseModel):
    """The mean of what people answered to one question about a response, and how many did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: float
    votes: int


class Preference(BaseModel):
    """One pair with a judgment: `chosen` is the better side; a tie has soft_target 0.5 and an arbitrary order.

    soft_target: probability that chosen is better, 0.5 to 1. weight: share in the loss, mean 1 over a snapshot.
    strength: 0 to 3 as the annotators graded it, None when they did not. labels: uuids of the labels behind it.
    ratings, acceptable (share of yes) and safety (safe, borderline or unsafe) of each side: empty or None when they
    were not asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    soft_target: float = Field(default=1.0, ge=0.5, le=1.0)
    weight: float = Field(default=1.0, ge=0)
    strength: float | None = Field(default=None, ge=0, le=3)
    votes_chosen: float = 1
    votes_rejected: float = 0
    votes_tie: float = 0
    objective: str = "helpful"
    split: Split = "train"
    round: int = 0
    prompt_id: str = ""
    group: str = ""
    pair: str = ""
    chosen_id: str = ""
    rejected_id: str = ""
    chosen_model: str = ""
    rejected_model: str = ""
    chosen_ratings: tuple[Rating, ...] = ()
    rejected_ratings: tuple[Rating, ...] = ()
    chosen_acceptable: float | None = Field(default=None, ge=0, le=1)
    rejected_acceptable: float | None = Field(default=None, ge=0, le=1)
    chosen_safety: str | None = None
    rejected_safety: str | None = None
    chosen_shown_left: float | None = Field(default=None, ge=0, le=1)
    propensity: float | None = None
    annotators: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""

    @property
    def is_tie(self) -> bool:
        return self.soft_target == 0.5

    def swap(self) -> "Preference":
        """The same judgment told from the other side; only a tie keeps a legal soft target."""
        return self.model_copy(
            update={
                "chosen": self.rejected,
                "rejected": self.chosen,
                "soft_target": 1 - self.soft_target,
                "votes_chosen": self.votes_rejected,
                "votes_rejected": self.votes_chosen,
                "chosen_id": self.rejected_id,
                "rejected_id": self.chosen_id,
                "chosen_model": self.rejected_model,
                "rejected_model": self.chosen_model,
                "chosen_ratings": self.rejected_ratings,
                "rejected_ratings": self.chosen_ratings,
                "chosen_acceptable": self.rejected_acceptable,
                "rejected_acceptable": self.chosen_acceptable,
                "chosen_safety": self.rejected_safety,
                "rejected_safety": self.chosen_safety,
                "chosen_shown_left": None if self.chosen_shown_left is None else 1 - self.chosen_shown_left,
            }
        )

    def row(self) -> dict[str, Any]:
        """The row as written to file."""
        fields = self.model_dump(mode="json")
        for side in ("prompt", "chosen", "rejected"):
            fields[side] = to_dicts(getattr(self, side))
        return fields


def write_preferences(path: Path, preferences: Iterable[Preference]) -> int:
    """Write JSONL, one row a preference, in the order given; returns the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for preference in preferences:
            file.write(json.dumps(preference.row(), ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def read_preferences(path: Path) -> Iterator[Preference]:
    """Yield the preferences of one JSONL file.

    Raises BadInput naming the file and line when a row is not a preference.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path), next="Run: trueloop snapshot") from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                yield Preference.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"]) or "row"
                raise BadInput(
                    f"{field}: {first['msg']}",
                    where=f"{path}, line {number}",
                    next="Run: trueloop snapshot",
                ) from error
