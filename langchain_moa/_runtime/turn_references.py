"""Turn references: what the proposers gave in a user turn, for the later steps of that turn.

A reference reaches nobody but the continuation of the run that produced it. That is told by what the run's answer
carries: a random token in its metadata. Where metadata is lost on the way (an OpenAI client of a server, say), the ids
of the answer's tool calls stand in for it, together with the conversation and what the caller says of itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

# A turn is a handful of texts. When more turns than this go on at once, the oldest ask their proposers again.
_MAX_KEPT = 1024

# Ids such as `call_1` are no secret: anybody may have the same.
_RANDOM_ID = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w-]{9,}")
_COUNTED_ID = re.compile(r"[A-Za-z_-]*\d{1,6}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """One run's part of a user turn."""

    mixture: str
    """Names the proposers; only mixtures with the same ones share references."""

    token: str = field(default_factory=lambda: uuid4().hex)
    known: Mapping[str, Any] = field(default_factory=dict)
    """By node: what the turn's earlier runs gave. These are not asked again."""

    given: dict[str, Any] = field(default_factory=dict)
    """By node: what this run gave. Successes only."""


class TurnReferences:
    """The references of the latest turns, kept in this process for all mixtures."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Turn] = OrderedDict()
        self.unlock()

    def unlock(self) -> None:
        """Have a lock of its own: in a forked process, the one who holds the parent's is not there to release it."""
        self._lock = threading.Lock()

    def begin(self, messages: Sequence[BaseMessage], *, mixture: str, caller: Mapping[str, Any]) -> Turn:
        """Return the turn of a run: a new one, or the continuation that the conversation proves to be.

        Args:
            messages: The conversation.
            mixture: Names the proposers.
            caller: What the caller says of itself.
        """
        for answer in _answers_in_turn(messages):
            for key in _proofs(answer, messages, caller):
                with self._lock:
                    before = self._kept.get(key)
                if before is not None and before.mixture == mixture:
                    return Turn(mixture=mixture, known={**before.known, **before.given})
        return Turn(mixture=mixture)

    def keep(self, turn: Turn, answer: AIMessage, messages: Sequence[BaseMessage], caller: Mapping[str, Any]) -> None:
        """Keep a run's references for whoever goes on from its answer.

        Args:
            turn: The run's.
            answer: Carries the turn's token in its metadata.
            messages: The conversation that it answers.
            caller: What the caller says of itself.
        """
        with self._lock:
            for key in _proofs(answer, messages, caller):
                self._kept[key] = turn
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)


turn_references = TurnReferences()
"""Of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=turn_references.unlock)


def _answers_in_turn(messages: Sequence[BaseMessage]) -> Iterator[AIMessage]:
    """Yield the answers since the last message of the user, latest first."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return
        if isinstance(message, AIMessage):
            yield message


def _proofs(answer: AIMessage, messages: Sequence[BaseMessage], caller: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that prove a conversation with this answer to continue its run."""
    if token := (answer.response_metadata.get("moa") or {}).get("turn"):
        yield token
    ids = [str(call["id"]) for call in answer.tool_calls]
    if ids and all(_RANDOM_ID.fullmatch(id_) and not _COUNTED_ID.fullmatch(id_) for id_ in ids):
        said = [(m.type, _content(m), getattr(m, "tool_calls", None)) for m in _to_last_question(messages)]
        key = repr((ids, said, sorted(map(repr, caller.items()))))
        yield hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()


def _to_last_question(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    end = max((i for i, message in enumerate(messages, 1) if isinstance(message, HumanMessage)), default=0)
    return messages[:end]


def _content(message: BaseMessage) -> Any:
    """Return a message's content without the ids of its blocks, some of which core makes up at every call."""
    if isinstance(message.content, str):
        return message.content
    return [
        {name: value for name, value in block.items() if name != "id"} if isinstance(block, dict) else block
        for block in message.content
    ]
