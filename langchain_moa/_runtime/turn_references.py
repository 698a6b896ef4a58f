"""When the proposers are asked, and the references of a turn that its later steps use again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa._runtime.events import current_tools
from langchain_moa.state import MoAState

Rule = Callable[[Sequence[BaseMessage]], bool] | Runnable[Any, bool]
"""From the conversation to whether the proposers are asked, at every call."""

FanOut = Literal["auto", "always", "user_turn"] | Rule
"""`always`: at every call. `user_turn`: once per user turn. `auto`: `user_turn` with tools, else `always`."""

# A turn is a handful of texts; more than this many at once in one process are asked again.
_MAX_TURNS = 256


@dataclass(kw_only=True)
class _Kept:
    updates: dict[str, Any] = field(default_factory=dict)
    """By node."""

    is_answered: bool = False


class Turn:
    """One run's part of a user turn. What its nodes give is kept for the turn's later runs."""

    def __init__(self, kept: _Kept) -> None:
        """Take what earlier runs of the turn have given."""
        self.known = dict(kept.updates)
        """By node; these are not asked again."""
        self._kept = kept

    def keep(self, node: str, update: Any) -> None:
        """Keep what `node` gave. Not called for a node that was cancelled."""
        self._kept.updates[node] = update

    def answered(self) -> None:
        """Remember that the references have led to an answer."""
        self._kept.is_answered = True


class Turns:
    """What each node of a graph gave in the latest turns, kept in this process."""

    def __init__(self, fan_out: FanOut) -> None:
        """Keep when the proposers are asked."""
        self._fan_out = fan_out
        self._turns: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def current(self, state: MoAState, config: RunnableConfig) -> Turn:
        """Return the turn that the run of a node belongs to, the same for all nodes of the run."""
        has_tools = bool(current_tools(config))
        return state["shared"].decide(lambda: self._begin(state["messages"], has_tools=has_tools))

    def _begin(self, messages: Sequence[BaseMessage], *, has_tools: bool) -> Turn:
        """Return the turn of a run.

        A question that was answered and is asked again begins a new turn; one whose answer failed is tried again.
        """
        if not self._once_per_turn(has_tools):
            return Turn(_Kept())
        is_asked = not messages or isinstance(messages[-1], HumanMessage)
        key = _key(messages)
        with self._lock:
            kept = self._turns.get(key)
            if kept is None or (is_asked and kept.is_answered):
                self._turns[key] = kept = _Kept()
            self._turns.move_to_end(key)
            while len(self._turns) > _MAX_TURNS:
                self._turns.popitem(last=False)
            return Turn(kept)

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
