"""When the proposers are asked, and the references of a turn that its later steps use again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import BaseMessage, HumanMessage

FanOut = Literal["auto", "always", "user_turn"] | Callable[[Sequence[BaseMessage]], bool]
"""`always`: at every call. `user_turn`: once per user turn. `auto`: `user_turn` with tools, else `always`."""

# A turn is a handful of texts; more than this many at once in one process are asked again.
_MAX_TURNS = 256


@dataclass(kw_only=True)
class _Turn:
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
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._lock = threading.Lock()

    def is_skipped(self, messages: Sequence[BaseMessage]) -> bool:
        """Tell whether the user's own rule leaves the proposers out."""
        return callable(self._fan_out) and not self._fan_out(messages)

    def recall(self, messages: Sequence[BaseMessage], node: str, *, has_tools: bool) -> Any | None:
        """Return what `node` gave earlier in this turn; `None` when it is not known, or a turn begins.

        A question that was answered and is asked again is a new turn; one whose answer failed is tried again.
        """
        if not self._once_per_turn(has_tools):
            return None
        begins = not messages or isinstance(messages[-1], HumanMessage)
        with self._lock:
            turn = self._turns.get(_key(messages))
            return None if turn is None or (begins and turn.is_answered) else turn.updates.get(node)

    def keep(self, messages: Sequence[BaseMessage], node: str, update: Any, *, has_tools: bool) -> None:
        """Keep what `node` gave in this turn. Not called for a node that was cancelled."""
        if not self._once_per_turn(has_tools):
            return
        key = _key(messages)
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.updates[node] = update
            turn.is_answered = False
            self._turns.move_to_end(key)
            while len(self._turns) > _MAX_TURNS:
                self._turns.popitem(last=False)

    def answered(self, messages: Sequence[BaseMessage], *, has_tools: bool) -> None:
        """Remember that this turn's references have led to an answer."""
        if self._once_per_turn(has_tools):
            with self._lock:
                if turn := self._turns.get(_key(messages)):
                    turn.is_answered = True

    def _once_per_turn(self, has_tools: bool) -> bool:
        return self._fan_out == "user_turn" or (self._fan_out == "auto" and has_tools)


def _key(messages: Sequence[BaseMessage]) -> str:
    """Return a key for the conversation up to the last message of the user; ids and metadata don't count."""
    end = max((i for i, message in enumerate(messages, 1) if isinstance(message, HumanMessage)), default=len(messages))
    said = [(m.type, m.content, getattr(m, "tool_calls", None)) for m in messages[:end]]
    return hashlib.sha256(repr(said).encode(errors="backslashreplace")).hexdigest()
