"""A data set for `datasets` and the Hub: a folder with a card and one Parquet file a split, as `load_dataset` reads it.

The card holds no text and no name beyond what the rows hold: kind, counts, columns. Reading back is prompts.rows_of's.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from annotate.columns import COLUMNS
from annotate.encodings import Row, encoded
from annotate.errors import BadInput, MissingExtra
from annotate.exports import Count, What, export_rows, has_parts
from annotate.ledger import Ledger

log = logging.getLogger(__name__)
SPLITS = ("train", "validation", "test")


def write_dataset(ledger: Ledger, what: What, folder: Path) -> Count:
    """Write an export into a new or empty folder: README.md and SPLIT.parquet for each split that has rows.

    Raises BadInput when something stands there already, or there is nothing to write; MissingExtra without pyarrow.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput("something stands there already", where=str(folder), next="Give a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    parts, count, rows = has_parts(ledger), Count(), Counter[str]()
    for split in SPLITS:  # a pass each: a Parquet file cannot wait for the others' rows
        tally = Count()

        def chosen(split: str = split, tally: Count = tally) -> Iterator[Row]:
            for row in export_rows(ledger, what, tally):
                if row["split"] == split:
                    rows[split] += 1
                    yield row

        path = folder / f"{split}.parquet"
        with path.open("wb") as file:
            file.writelines(encoded(what, "parquet", chosen(), parts=parts))
        if not rows[split]:  # an empty file has no place in a data set
            path.unlink()
        count.left_out = tally.left_out
    count.rows = rows.total()
    if not count.rows:
        raise BadInput("there is nothing to write", next="Run: trueloop annotate, or trueloop import FILE --as votes")
    (folder / "README.md").write_text(card(what, rows), encoding="utf-8", newline="\n")
    return count


def push(folder: Path, name: str) -> str:
    """Upload a folder that `write_dataset` made to the Hub as a private data set; returns its address.

    Needs a login (`hf auth login`). Raises BadInput with what the Hub answered, MissingExtra without `datasets`.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        datasets.load_dataset(str(folder)).push_to_hub(name, private=True)
    except Exception as error:  # the library raises its own, OSError, ValueError and what the Hub answers
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"cannot be pushed ({said})", where=name, next="Run: hf auth login, and check the name"
        ) from error
    log.info("pushed %s", name)
    return f"https://huggingface.co/datasets/{name}"


def card(what: str, rows: Counter[str]) -> str:
    """The folder's README.md: where the splits are, for `datasets`, and what the rows are, for people."""
    files = "\n".join(f"  - split: {split}\n    path: {split}.parquet" for split in SPLITS if rows[split])
    columns = "\n".join(f"- `{name}`: {_MEANS[kind.rstrip('?')]}" for name, kind in sorted(COLUMNS[what].items()))
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\ntags:\n- trueloop\n---\n\n"
        f"# {what.capitalize()}\n\n{rows.total()} rows, exported by Trueloop (`trueloop export --what {what}`): "
        f"{', '.join(f'{rows[split]} {split}' for split in SPLITS if rows[split])}.\n\n{columns}\n"
    )


_MEANS = {
    "text": "text",
    "whole": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "turns": "a conversation: a list of `role` and `content`",
    "texts": "a list of texts",
    "tiers": "a list of lists of texts, best first",
    "answers": "a list of `id`, `text` and `model`",
    "ratings": "a list of `name`, `mean` and `votes`",
    "object": "a JSON object as text",
}
