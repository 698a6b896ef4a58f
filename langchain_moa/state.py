"""The state of the graph: plain data, so that checkpoints and streams can hold it."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages.ai import UsageMetadata
from langgraph.channels import Topic
from langgraph.graph import MessagesState
from typing_extensions import TypedDict

from langchain_moa._messages.costs import Bill
from langchain_moa._runtime.run_state import PerRun, RunState

Status = Literal["ok", "failed", "timeout", "cancelled", "empty", "truncated", "filtered", "skipped"]
"""What became of a call; `truncated` and `filtered` replies are neither votes nor candidates, nor do they count for a
quorum."""


class Reference(TypedDict):
    """The text one proposer gave, as the next layer sees it."""

    proposer: str
    content: str


class ProposerCall(Bill):
    """What became of one call of a proposer, as the answer's metadata shows it."""

    proposer: str
    model: str
    status: Status
    finish_reason: str | None
    """Why the reply ended, in the provider's own word."""

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


class Wave(TypedDict):
    """What there is before the next proposers of a vote are asked."""

    before: list[Reference]
    """What the layer before gave: each wave sees it."""

    references: list[Reference]
    """What the earlier waves gave."""

    failures: list[Failure]
    """Which proposers of the earlier waves gave nothing."""


class GateCall(Bill):
    """What the gate decided."""

    asked: bool
    """Whether the proposers are asked."""

    usage: dict[str, UsageMetadata]
    """Tokens that the gate's own models used, by model name."""

    degraded: NotRequired[list[dict[str, Any]]]
    """Models of the gate that failed."""


class MoAState(MessagesState):
    """The conversation, and what the proposers made of it."""

    references: Annotated[list[Reference], Topic]
    """What the layer before gave, in the proposers' order. A topic: it grows neither over layers nor over turns."""

    failures: Annotated[list[Failure], Topic]
    """Which proposers of the layer before gave nothing."""

    calls: Annotated[dict[str, ProposerCall], operator.or_]
    """By node, so that a turn writes over the one before."""

    wave: Wave
    """With `wave`: what the earlier waves gave, until the vote is closed."""

    gate_call: GateCall
    """With a gate in `fan_out`: what it decided."""

    run: Annotated[RunState, PerRun]
    """What the nodes of this run share."""
