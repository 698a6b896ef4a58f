"""Hashes of what determines a result: two results with the same key need not be produced twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_moa.evals.types import Answer


def key_of(*parts: Any) -> str:
    """Return a hash of what determines a result; a result with the same key is reused."""
    content = json.dumps(parts, sort_keys=True, default=_canonical)
    return hashlib.sha256(content.encode()).hexdigest()


def words_of(messages: Sequence[BaseMessage]) -> list[Any]:
    """Return the part of a conversation that determines a model's reply: roles and contents."""
    return [[message.type, message.content] for message in messages]


def answer_key(answer: Answer) -> str:
    """Return a hash of what is judged: the texts of the answer."""
    return key_of(answer.question, list(answer.texts))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else str(value)
