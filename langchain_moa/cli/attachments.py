"""Files that go with a question."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def read_attachment(path: Path) -> dict[str, Any]:
    """Return an image or a text file as a content block.

    Raises:
        OSError: It can't be read.
        ValueError: It is neither.
    """
    data = path.expanduser().read_bytes()
    mime_type, _ = mimetypes.guess_type(path.name)
    if mime_type in _IMAGES:
        return {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": mime_type}
    return {"type": "text", "text": f"{path.name}:\n\n{decode(data, name=repr(str(path)))}"}


def decode(data: bytes, *, name: str) -> str:
    """Return text in UTF-8.

    Raises:
        ValueError: It is something else.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{name} is no text in UTF-8. Images may be PNG, JPEG, GIF or WebP files: --attach FILE.")
    return text


def to_message(text: str, attachments: Sequence[dict[str, Any]]) -> HumanMessage:
    """Return a question as a message, with what is attached after it."""
    from langchain_core.messages import HumanMessage

    return HumanMessage([{"type": "text", "text": text}, *attachments] if attachments else text)
