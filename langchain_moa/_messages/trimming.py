"""Trimming references so that they fit into the next model's window."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

# Tokens are estimated, and the answer needs room too.
_SHARE_OF_WINDOW = 0.8
_CHARS_PER_TOKEN = 4
_USUAL_WINDOW = 131_072
_CUT = "\n[…]\n"


def fit_references(texts: Sequence[str], *, beside: Sequence[BaseMessage], window: int | None) -> list[str]:
    """Trim the longest texts evenly until all of them fit beside a conversation; short ones stay whole.

    Args:
        texts: The references.
        beside: The conversation and the prompt, without the references.
        window: Tokens that the model takes; `None` when it does not say, which counts as 128k.

    Returns:
        As many texts. A trimmed one keeps its beginning and its end, where answers say what they conclude.
    """
    tokens = int((window or _USUAL_WINDOW) * _SHARE_OF_WINDOW) - _count(beside)
    longest = _longest_allowed([len(text) for text in texts], max(tokens, 0) * _CHARS_PER_TOKEN)
    return [text if len(text) <= longest else _cut(text, longest) for text in texts]


def _count(messages: Sequence[BaseMessage]) -> int:
    if all(isinstance(message.content, str) and message.type in ("system", "human") for message in messages):
        # What core's estimate comes to for plain text, without its price: it looks into every message.
        return sum(len(message.content) // _CHARS_PER_TOKEN + 5 for message in messages)
    return count_tokens_approximately(messages)


def _longest_allowed(lengths: Sequence[int], room: int) -> int:
    """Return the length to which texts are trimmed, so that all of them take `room`."""
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            return room // left
        room -= length
        left -= 1
    return max(lengths, default=0)


def _cut(text: str, length: int) -> str:
    keep = max(length - len(_CUT), 0)
    return text[: keep - keep // 2] + _CUT + text[len(text) - keep // 2 :]
