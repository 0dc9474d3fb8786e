"""Images of prompts: taken in by what they are, served by their hash, carried to the trainer's file."""

import base64
import hashlib
import json
import struct
import uuid as uuids
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from annotate import auth, media
from annotate.aggregate import SnapshotSection
from annotate.app import create_app
from annotate.errors import BadInput
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.messages import as_messages
from annotate.preference import read_preferences
from annotate.snapshot import freeze
from annotate.tables import Prompt


def png(red: int = 200) -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(bytes([0, red, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def asking(image: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]}]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        yield ledger


def bring(ledger: Ledger, folder: Path, image: str, kind: Any = "pairs") -> None:
    row = {"prompt": asking(image), **({"responses": ["A dot.", "A red dot."]} if kind == "pairs" else {})}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    import_file(ledger, folder / "rows.jsonl", kind)


@pytest.mark.parametrize("kind", ["pairs", "prompts"])
@pytest.mark.parametrize("beside", [True, False])
def test_an_image_is_kept_by_its_hash_whether_it_lies_beside_the_file_or_in_it(
    ledger: Ledger, tmp_path: Path, kind: str, beside: bool
) -> None:
    (tmp_path / "dot.png").write_bytes(png())
    bring(ledger, tmp_path, "dot.png" if beside else uri(png()), kind)
    name = hashlib.sha256(png()).hexdigest()
    assert (tmp_path / "media" / name).read_bytes() == png()
    assert [path.name for path in (tmp_path / "media").iterdir()] == [name]
    with ledger.read() as session:
        [messages] = session.exec(select(Prompt.messages))
    assert messages == asking(f"media:{name}") and list(media.images_in(messages)) == [name]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("../secret.png", "beside the file"),
        ("/etc/hostname", "beside the file"),
        ("none.png", "cannot be read"),
        ("text.png", "no image"),
        ("large.png", "at most 10 MiB"),
        ("http://example.org/dot.png", "not fetched from the network"),
        ("file:///etc/hostname", "not fetched from the network"),
        ("data:image/png;base64,%%%", "damaged"),
        (uri(b"<svg onload='alert(1)'/>"), "no image"),
        ("media:" + "0" * 64, "no image media:"),
    ],
)
def test_what_is_no_image_beside_the_file_is_refused_and_nothing_is_stored(
    ledger: Ledger, tmp_path: Path, image: str, why: str
) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "text.png").write_text("not a picture", encoding="utf-8")
    (folder / "large.png").write_bytes(png() + bytes(media.MAX_BYTES))
    with pytest.raises(BadInput, match=why):
        bring(ledger, folder, image)
    assert not (tmp_path / "media").exists()


def test_a_link_out_of_the_folder_is_no_way_out(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dot.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(BadInput, match="beside the file"):
        bring(ledger, folder, "dot.png")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert media.kind_of(head) == kind


def test_an_image_is_served_to_who_is_signed_in_and_nothing_else_is(ledger: Ledger, tmp_path: Path) -> None:
    name = media.store_image(tmp_path / "media", png()).removeprefix(media.PREFIX)
    client = TestClient(create_app(ledger), raise_server_exceptions=False)
    assert client.get(f"/api/media/{name}").status_code == 401
    who = {"authorization": f"Bearer {auth.new_token(ledger, 'ann')}"}
    answer = client.get(f"/api/media/{name}", headers=who)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, png(), "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    for other, status in (("0" * 64, 404), ("labels.db", 422), ("..%2Flabels.db", 404), (name.upper(), 422)):
        assert client.get(f"/api/media/{other}", headers=who).status_code == status


def test_an_image_goes_with_the_snapshot(ledger: Ledger, tmp_path: Path) -> None:
    bring(ledger, tmp_path, uri(png()))
    client = TestClient(create_app(ledger), headers={"authorization": f"Bearer {auth.new_token(ledger, 'ann')}"})
    [task] = client.get("/api/tasks").json()["tasks"]
    ranking = [[response["id"]] for response in task["responses"]]
    client.post("/api/labels", json={"uuid": str(uuids.uuid4()), "slot": task["slot"], "ranking": ranking})
    out = tmp_path / "snapshot"
    out.mkdir()
    freeze(ledger, out, SnapshotSection())
    name = hashlib.sha256(png()).hexdigest()
    assert (out / "media" / name).read_bytes() == png()
    [row] = read_preferences(out / "preferences.jsonl")
    assert row.prompt[0].text == "What is it?"
    assert list(media.images_in([{"content": turn.content} for turn in row.prompt])) == [name]
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(out), split=row.split, cache_dir=str(tmp_path / "cache"))
    assert [part["type"] for part in loaded[0]["prompt"][0]["content"]] == ["image", "text"]
    assert loaded[0]["prompt"][0]["content"][0]["image"] == f"media:{name}"


def test_a_conversation_without_images_stays_as_it_is() -> None:
    messages = as_messages("Only words.")
    assert media.take_images(messages, None, None) == messages
    with pytest.raises(BadInput, match="need a workspace"):
        media.take_images(as_messages(asking(uri(png()))), None, None)
