"""The state of the graph: plain data, so that checkpoints and streams can hold it."""

from __future__ import annotations

import operator
from typing import Annotated, Literal, NotRequired

from langchain_core.messages.ai import UsageMetadata
from langgraph.channels import Topic
from langgraph.graph import MessagesState
from typing_extensions import TypedDict

from langchain_moa._runtime.run_state import PerRun, Shared

Status = Literal["ok", "failed", "timeout", "cancelled", "empty", "truncated", "skipped"]


class Reference(TypedDict):
    """The text one proposer gave, as the next layer sees it."""

    proposer: str
    content: str


class ProposerCall(TypedDict):
    """What became of one call of a proposer, as the answer's metadata shows it."""

    proposer: str
    model: str
    status: Status
    seconds: float
    usage: UsageMetadata | None
    error: str | None
    text: NotRequired[str]
    """With `include_references`."""

    references_trimmed: NotRequired[bool]
    """The references that it saw were cut to fit into its window."""

    reused: NotRequired[bool]
    """Given earlier in this user turn, and not asked for again."""


class Failure(TypedDict):
    """Why one proposer gave no reference. A checkpoint keeps the error as its text."""

    proposer: str
    error: Exception | str


class GateCall(TypedDict):
    """What became of the rule that decides whether the proposers are asked."""

    asked: bool
    """Whether they are."""

    usage: dict[str, UsageMetadata]
    """Of the models that the rule has asked, by name."""


class MoAState(MessagesState):
    """The conversation, and what the proposers made of it."""

    references: Annotated[list[Reference], Topic]
    """What the layer before gave, in the proposers' order. A topic: it grows neither over layers nor over turns."""

    failures: Annotated[list[Failure], Topic]
    """Which proposers of the layer before gave nothing."""

    calls: Annotated[dict[str, ProposerCall], operator.or_]
    """By node, so that a turn writes over the one before."""

    gate: GateCall
    """With a rule in `fan_out`: what it said."""

    shared: Annotated[Shared, PerRun]
    """What the nodes of this run share."""
