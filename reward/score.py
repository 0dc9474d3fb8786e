"""Scores responses with a reward model of either kind, in memory or file to file.

How each kind computes its scores is in reward/head.py and reward/finetune.py; both save a folder that is whole in
itself, and both give nats of preference.
"""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from annotate.errors import BadInput, BadModel, NotFound
from annotate.messages import Messages, as_messages
from annotate.progress import Progress, silent

CHUNK = 256
"""Rows held in memory while a file is scored."""


class Scores(NamedTuple):
    """Rewards of N responses and their standard deviations, 0 where a model knows none; nats, shapes (N,)."""

    mean: np.ndarray
    std: np.ndarray


class Scorer(Protocol):
    """A reward model ready for use. Only differences between responses to one prompt mean anything."""

    def score(self, prompts: Sequence[Messages], responses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of as many responses as prompts, the i-th to the i-th prompt, as (mean, standard deviation)."""


def load_scorer(path: Path) -> Scorer:
    """The reward model in a folder.

    Raises NotFound when there is no folder, BadModel when it holds no reward model or one that is unsafe to load.
    """
    if not path.is_dir():
        raise NotFound("there is no reward model here", where=str(path), next="Run: trueloop status")
    if (path / "head.json").is_file():
        from reward.head import Head

        return Head.load(path)
    if (path / "reward.json").is_file():
        from reward.finetune import load_finetuned

        return load_finetuned(path)
    raise BadModel(
        "the folder holds no reward model: there is neither head.json nor reward.json",
        where=str(path),
        next="Run: trueloop reward",
    )


def score_file(file: Path, reward_path: Path, out: Path, progress: Progress = silent) -> int:
    """Score each row of a JSONL file (.gz too) into `out`, in order, with all other keys kept; returns the rows.

    {prompt, response} gets "score" and "score_std"; {prompt, chosen, rejected} gets "score_chosen" and
    "score_rejected". Prompts and answers are text or lists of messages; nats, see `Scores`.
    Raises BadInput naming the first line that is no such row; then `out` is left as it was.
    """
    total = sum(len(rows) for rows in _chunks(file))  # every line is checked before the model is loaded
    scorer = load_scorer(reward_path)
    part = out.with_name(out.name + ".part")
    done = 0
    try:
        with part.open("w", encoding="utf-8", newline="\n") as target:
            for rows in _chunks(file):
                _score_rows(scorer, rows)
                for row in rows:
                    target.write(json.dumps(row.fields, ensure_ascii=False) + "\n")
                done += len(rows)
                progress("scoring", done, total)
            target.flush()
            os.fsync(target.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return done


class _Row(NamedTuple):
    fields: dict[str, Any]
    prompts: list[Messages]
    responses: list[str]


def _score_rows(scorer: Scorer, rows: Sequence[_Row]) -> None:
    prompts = [prompt for row in rows for prompt in row.prompts]
    responses = [response for row in rows for response in row.responses]
    mean, std = scorer.score(prompts, responses)
    at = 0
    for row in rows:
        if len(row.responses) == 1:
            row.fields["score"], row.fields["score_std"] = float(mean[at]), float(std[at])
        else:
            row.fields["score_chosen"], row.fields["score_rejected"] = float(mean[at]), float(mean[at + 1])
        at += len(row.responses)


def _chunks(file: Path) -> Iterator[list[_Row]]:
    rows: list[_Row] = []
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            rows.append(_parse(line))
        except BadInput as error:
            raise BadInput(
                error.what, where=f"{file}, line {number}", next="Mend that line; nothing was written"
            ) from None
        if len(rows) == CHUNK:
            yield rows
            rows = []
    if rows:
        yield rows


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            yield from enumerate(lines, 1)
    except FileNotFoundError as error:
        raise NotFound("there is no such file", where=str(file), next="Check the path") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"the file cannot be read as UTF-8 text: {error}", where=str(file)) from error


def _parse(line: str) -> _Row:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not valid JSON ({str(error).splitlines()[0]})") from error
    keys = ("response",) if isinstance(fields, dict) and "response" in fields else ("chosen", "rejected")
    if not isinstance(fields, dict) or "prompt" not in fields or any(key not in fields for key in keys):
        raise BadInput("expected {prompt, response} or {prompt, chosen, rejected}")
    prompt = as_messages(fields["prompt"])
    row = _Row(fields, [], [])
    for key in keys:
        turns = as_messages(fields[key], role="assistant")
        if turns[-1].role != "assistant":
            raise BadInput(f"{key} does not end with a turn of the assistant")
        row.prompts.append((*prompt, *turns[:-1]))
        row.responses.append(turns[-1].text)
    return row
