"""Images of prompts: stored by the hash of their bytes in WORKSPACE/media, checked by what they are and how large.

A prompt's part {"type": "image", "image": "media:SHA256"} names one. Files of others name a path beside them or carry a
data URI; nothing is ever fetched from the network.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from annotate.errors import BadInput
from annotate.messages import Message, Messages

MAX_BYTES = 10 * 2**20
PREFIX = "media:"
_HASH = re.compile(r"[0-9a-f]{64}")
_DATA = re.compile(r"data:[\w/+.-]*;base64,", re.ASCII)


def kind_of(image: bytes) -> str | None:
    """The media type of an image by its first bytes; None when it is no PNG, JPEG, WebP or GIF."""
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    if image.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return None


def store_image(media: Path, image: bytes) -> str:
    """Keep an image in the folder `media` and return its name, "media:SHA256"; the same bytes are kept once.

    Raises BadInput when it is too large or no image.
    """
    if len(image) > MAX_BYTES:
        raise BadInput(f"an image has at most {MAX_BYTES // 2**20} MiB, this one {len(image) / 2**20:.1f}")
    if kind_of(image) is None:
        raise BadInput("this is no image: PNG, JPEG, WebP and GIF are taken")
    name = hashlib.sha256(image).hexdigest()
    if not (media / name).is_file():
        media.mkdir(parents=True, exist_ok=True)
        temporary = media / f".{name}.{os.getpid()}"
        temporary.write_bytes(image)
        temporary.replace(media / name)
    return PREFIX + name


def image_path(media: Path | None, name: str) -> Path | None:
    """Where the image of this hash lies; None when there is none."""
    if media is None or not _HASH.fullmatch(name) or not (media / name).is_file():
        return None
    return media / name


def images_in(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The hashes of the images that a stored conversation shows."""
    for turn in messages:
        for part in turn["content"] if isinstance(turn["content"], list) else ():
            image = part.get("image")
            if part.get("type") == "image" and isinstance(image, str) and image.startswith(PREFIX):
                yield image.removeprefix(PREFIX)


def take_images(messages: Messages, media: Path | None, folder: Path | None) -> Messages:
    """The conversation with each image stored in `media` and named by its hash; others' parts stay as they are.

    folder: where paths are looked for, and which none of them leaves. Raises BadInput saying what is wrong with one.
    """
    return tuple(
        turn
        if isinstance(turn.content, str)
        else Message(role=turn.role, content=[*_taken(turn.content, media, folder)])
        for turn in messages
    )


def _taken(parts: Iterable[dict[str, Any]], media: Path | None, folder: Path | None) -> Iterator[dict[str, Any]]:
    for part in parts:
        if part.get("type") != "image":
            yield part
            continue
        image = part.get("image")
        if not isinstance(image, str):
            raise BadInput("an image part has its image as a path or a data URI")
        if media is None:
            raise BadInput("images need a workspace to be stored in")
        if image_path(media, image.removeprefix(PREFIX)) is None:
            image = store_image(media, _bytes_of(image, folder))
        yield {"type": "image", "image": image}


def _bytes_of(image: str, folder: Path | None) -> bytes:
    if found := _DATA.match(image):
        try:
            return base64.b64decode(image[found.end() :], validate=True)
        except binascii.Error as error:
            raise BadInput(f"an image's data URI is damaged ({error})") from error
    if image.startswith(PREFIX):
        raise BadInput(f"there is no image {image} in this workspace")
    if re.match(r"[a-z]+://", image):
        raise BadInput("an image is not fetched from the network: give a path beside the file, or a data URI")
    path = None if folder is None else (folder / image).resolve()
    if path is None or folder is None or not path.is_relative_to(folder.resolve()):
        raise BadInput(f"the image {image!r:.80} does not lie beside the file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"the image {image!r:.80} cannot be read ({error.strerror})") from error
