"""Files that go with a question."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

# What the files begin with: a name promises anything.
_IMAGES = {b"\x89PNG\r\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def read_attachment(path: Path) -> dict[str, Any]:
    """Return an image or a text file as a content block.

    Raises:
        OSError: It can't be read.
        ValueError: It is neither.
    """
    data = path.expanduser().read_bytes()
    for beginning, mime_type in _IMAGES.items():
        if data.startswith(beginning):
            return {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": mime_type}
    text = decode(data, name=repr(str(path)), hint=" Images may be PNG, JPEG, GIF or WebP files.")
    return {"type": "text", "text": f"{path.name}:\n\n{text}"}


def decode(data: bytes, *, name: str, hint: str = "") -> str:
    """Return text in UTF-8.

    Raises:
        ValueError: It is something else.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{name} is no text in UTF-8.{hint}")
    return text


def to_message(text: str, attachments: Sequence[dict[str, Any]]) -> HumanMessage:
    """Return a question as a message, with what is attached after it."""
    from langchain_core.messages import HumanMessage

    return HumanMessage([{"type": "text", "text": text}, *attachments] if attachments else text)
