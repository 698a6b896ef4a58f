"""Content blocks: what kind of input one is, and what it is as text.

Providers and LangChain's versions have names of their own for the same kinds of block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Block = str | dict[str, Any]

# By type: the input of a model's profile that a block needs, and what it is called when it is left out. From
# langchain_core.messages.content, and from what the packages of OpenAI, Anthropic, Google, AWS, Mistral, OpenRouter and
# Together convert. Bedrock's blocks have no type but a key of these names.
_MEDIA: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("image", "image_url", "input_image"), ("image_inputs", "image")),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), ("audio_inputs", "audio")),
    **dict.fromkeys(("video", "video_url", "input_video"), ("video_inputs", "video")),
    **dict.fromkeys(("file", "input_file", "file_data", "media"), ("pdf_inputs", "file")),
    **dict.fromkeys(("document", "document_url"), ("pdf_inputs", "document")),
}
# What a file is depends on its type.
_BY_MIME_TYPE = {"image": _MEDIA["image"], "audio": _MEDIA["audio"], "video": _MEDIA["video"]}
_SILENT = frozenset(
    {
        *("reasoning", "reasoning_content", "thinking", "redacted_thinking"),
        *("tool_call", "tool_call_chunk", "tool_use", "function_call", "invalid_tool_call", "input_json_delta"),
        "cachePoint",
    }
)
# Longer strings of ASCII without any space are data: base64, signatures, encrypted results.
_LONGEST_WORD = 256


def needed_input(block: Any) -> str | None:
    """Return the input of a model's profile that a block needs, such as `image_inputs`; `None`: it is no media."""
    media = _media(block)
    return media[0] if media else None


def placeholder(block: Any) -> dict[str, Any]:
    """Return a block of text that stands for media, which are left out."""
    return {"type": "text", "text": _left_out(block)}


def as_text(block: Any) -> str:
    """Return a block as text: media as a placeholder, data left out, reasoning and tool calls as nothing."""
    if isinstance(block, str) or not isinstance(block, dict):
        return block if isinstance(block, str) else ""
    kind = _kind(block)
    if kind in _SILENT:
        return ""
    if isinstance(text := _plain_text(block), str):
        return text
    if _media(block):
        return _left_out(block)
    if kind == "json":
        return to_json(block["json"])
    return to_json({key: value for key, value in block.items() if key not in ("type", "id", "index")})


def to_json(value: Any) -> str:
    """Return any value as JSON, or as Python writes it where it has no such form; long data are left out.

    It never fails: objects that JSON does not know become text.
    """
    try:
        text = json.dumps(_without_data(value), ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or an object that contains itself
        text = repr(value)
    return sendable(text)


def sendable(text: str) -> str:
    """Return a text that has a UTF-8 form: lone surrogates, which JSON can carry, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _kind(block: Mapping[str, Any]) -> str:
    return str(block.get("type") or next(iter(block), ""))


def _media(block: Any) -> tuple[str, str] | None:
    if not isinstance(block, dict) or (media := _MEDIA.get(_kind(block))) is None:
        return None
    if media[0] != "pdf_inputs":
        return media
    if isinstance(_plain_text(block), str):
        return None
    source = block.get("source")
    mime_type = block.get("mime_type") or (source.get("media_type") if isinstance(source, dict) else None)
    return _BY_MIME_TYPE.get(str(mime_type).partition("/")[0], media)


def _plain_text(block: Mapping[str, Any]) -> Any:
    """Return the text of a block that is one, or is a document that is plain text."""
    if block.get("type") in ("text", "text-plain", "output_text", "input_text"):
        return block.get("text")
    if set(block) == {"text"}:  # Bedrock
        return block["text"]
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "text":  # Anthropic
        return source.get("data")
    return block.get("text") if block.get("source_type") == "text" else None  # langchain-core 0.3


def _left_out(block: Any) -> str:
    media = _media(block)
    return f"[{media[1] if media else 'content'} left out]"


def _without_data(value: Any) -> Any:
    if isinstance(value, bytes) or (isinstance(value, str) and _is_data(value)):
        return "…"
    if isinstance(value, dict):
        if "type" in value and _media(value):
            return _left_out(value)
        return {key: _without_data(each) for key, each in value.items()}
    return [_without_data(each) for each in value] if isinstance(value, list | tuple) else value


def _is_data(text: str) -> bool:
    return len(text) > _LONGEST_WORD and text.isascii() and len(text.split(maxsplit=1)) == 1
