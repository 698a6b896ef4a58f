"""Proposers that say again what they have said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_moa.proposers import Proposer


def replaying(name: str, find: Callable[[str, list[BaseMessage]], str | None]) -> Proposer:
    """Return a proposer that replays.

    Args:
        name: Its name.
        find: Returns what the proposer of a name says to a conversation; nothing if it said nothing.
    """
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableLambda

    from langchain_moa.exceptions import MoAError
    from langchain_moa.proposers import Proposer

    def speak(messages: list[BaseMessage]) -> AIMessage:
        text = find(name, messages)
        if not text:
            msg = f"{name!r} has no proposal to this question."
            raise MoAError(msg)
        return AIMessage(text)

    return Proposer(model=RunnableLambda(speak, name=name), name=name)
