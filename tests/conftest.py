"""Fixtures that several test files share. Nothing is downloaded: models are made on the spot and stay untrained."""

import os

# Before anything imports torch or a hub client.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotate.messages import as_messages
from annotate.preference import Preference, write_preferences

if TYPE_CHECKING:
    from annotate.ledger import Ledger

WORDS = ["salt", "water", "bread", "oven", "heat", "stir", "slice", "onion", "pepper", "simmer", "taste", "serve"]


def sentence(number: int, length: int) -> str:
    """Words in an order that depends on the number alone."""
    return " ".join(WORDS[(number * 7 + step * (number % 5 + 1)) % len(WORDS)] for step in range(length))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained 2-layer model and its tokenizer, which knows the words above."""
    from align.tiny import TinySection, make_tiny

    folder = tmp_path_factory.mktemp("tiny_model")
    texts = [sentence(number, 12) for number in range(40)]
    make_tiny(texts, folder, TinySection(width=32, layers=2), seed=1)
    return folder


@pytest.fixture(scope="session")
def make_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a snapshot folder of so many train and validation preferences: who says "butter" is preferred.

    Every seventh is a tie. Prompts differ, two preferences to each. edit: changes each preference before it is written.
    """

    def make(train: int, validation: int = 0, edit: Callable[[int, Preference], Preference] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("snapshot")
        rows: list[Preference] = []
        for number in range(train + validation):
            fields: dict[str, Any] = {
                "prompt": as_messages(f"How do I cook dish {number // 2}?"),
                "chosen": as_messages(sentence(number, 5) + " butter butter", "assistant"),
                "rejected": as_messages(sentence(number + 1, 5 + number % 4), "assistant"),
                "soft_target": 0.5 if number % 7 == 6 else 1.0,
                "split": "train" if number < train else "validation",
                "group": f"dish {number // 2}" if number < train else f"validation dish {number // 2}",
            }
            row = Preference(**fields)
            rows.append(edit(number, row) if edit else row)
        write_preferences(folder / "preferences.jsonl", rows)
        return folder

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> "Iterator[Ledger]":
    """An empty ledger in SQLite, as a workspace has it."""
    from annotate.ledger import Ledger

    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        yield ledger


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[Callable[[], str]]":
    """Makes empty PostgreSQL databases and returns their URLs; skips where no server is installed."""
    from ledgers import PostgresServer

    try:
        server = PostgresServer()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield server.database
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once in SQLite and once in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'labels.db'}"
    return request.getfixturevalue("postgres_server")()


@pytest.fixture
def any_ledger(database_url: str) -> "Iterator[Ledger]":
    """An empty ledger, once in SQLite and once in PostgreSQL."""
    from annotate.ledger import Ledger

    with Ledger.open(database_url) as ledger:
        yield ledger
