"""When the proposers are asked, and the references of a turn that its later steps use again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import BaseMessage, HumanMessage

FanOut = Literal["auto", "always", "user_turn"] | Callable[[Sequence[BaseMessage]], bool]
"""`always`: at every call. `user_turn`: once per user turn. `auto`: `user_turn` with tools, else `always`."""

# A turn is a handful of texts; more than this many at once in one process are asked again.
_MAX_TURNS = 256


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What is decided at the beginning of a run."""

    is_skipped: bool = False
    """Whether the user's own rule leaves the proposers out."""

    known: Mapping[str, Any] = field(default_factory=dict)
    """What nodes gave earlier in this turn, by node; they are not asked again."""


@dataclass(kw_only=True)
class _Kept:
    updates: dict[str, Any] = field(default_factory=dict)
    """By node."""

    is_answered: bool = False


class Turns:
    """What each node of a graph gave in the latest turns, kept in this process."""

    def __init__(self, fan_out: FanOut) -> None:
        """Keep the rule.

        Args:
            fan_out: When the proposers are asked.
        """
        self._fan_out = fan_out
        self._turns: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, messages: Sequence[BaseMessage], *, has_tools: bool) -> Turn:
        """Decide, once for all nodes of a run, who is asked.

        A question that was answered and is asked again begins a new turn; one whose answer failed is tried again.
        """
        if callable(self._fan_out) and not self._fan_out(messages):
            return Turn(is_skipped=True)
        if not self._once_per_turn(has_tools):
            return Turn()
        is_asked = not messages or isinstance(messages[-1], HumanMessage)
        key = _key(messages)
        with self._lock:
            kept = self._turns.get(key)
            if kept is None or (is_asked and kept.is_answered):
                self._turns[key] = kept = _Kept()
            self._turns.move_to_end(key)
            while len(self._turns) > _MAX_TURNS:
                self._turns.popitem(last=False)
            return Turn(known=dict(kept.updates))

    def keep(self, messages: Sequence[BaseMessage], node: str, update: Any, *, has_tools: bool) -> None:
        """Keep what `node` gave in this turn. Not called for a node that was cancelled."""
        if not self._once_per_turn(has_tools):
            return
        with self._lock:
            if kept := self._turns.get(_key(messages)):
                kept.updates[node] = update

    def answered(self, messages: Sequence[BaseMessage], *, has_tools: bool) -> None:
        """Remember that this turn's references have led to an answer."""
        if self._once_per_turn(has_tools):
            with self._lock:
                if kept := self._turns.get(_key(messages)):
                    kept.is_answered = True

    def _once_per_turn(self, has_tools: bool) -> bool:
        return self._fan_out == "user_turn" or (self._fan_out == "auto" and has_tools)


def _key(messages: Sequence[BaseMessage]) -> str:
    """Return a key for the conversation up to the last message of the user; ids and metadata don't count."""
    end = max((i for i, message in enumerate(messages, 1) if isinstance(message, HumanMessage)), default=len(messages))
    said = [(m.type, _said(m), getattr(m, "tool_calls", None)) for m in messages[:end]]
    return hashlib.sha256(repr(said).encode(errors="backslashreplace")).hexdigest()


def _said(message: BaseMessage) -> Any:
    """Return a message's content without the ids of its blocks, some of which core makes up at every call."""
    if isinstance(message.content, str):
        return message.content
    return [
        {name: value for name, value in block.items() if name != "id"} if isinstance(block, dict) else block
        for block in message.content
    ]
