"""What a way to aggregate is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from langchain_moa._messages.prompts import Render, paper
from langchain_moa.exceptions import MoAError, describe
from langchain_moa.state import Reference

Aggregation = Literal["synthesize", "select", "vote", "analyze"]


class UnusableReplyError(MoAError):
    """A model answered a question on the way to the answer, and its reply can't be used."""


class BudgetReachedError(UnusableReplyError):
    """A model was not asked, because a budget would have been passed."""

    def __init__(self, step: str) -> None:
        super().__init__("the budget is reached")
        self.step = step


class Ask(Protocol):
    """Asks a model about references, on the way to the answer."""

    async def __call__(
        self, step: str, references: Sequence[str], render: Render, schema: type[BaseModel] | None = None
    ) -> Any:
        """Return the reply: a text, or an instance of the schema.

        Args:
            step: Name of the question in the answer's metadata.
            references: The texts that it is about.
            render: How they are shown.
            schema: What the reply must fit.

        Raises:
            UnusableReplyError: The reply is empty or cut off, or does not fit the schema; or a budget is reached.
            Exception: The model's own error.
        """


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the answer comes about."""

    aggregation: Aggregation

    winner: Reference | None = None
    """Its text is the answer; `None`: the aggregator writes it."""

    references: Sequence[str] = ()
    """What the aggregator writes it from."""

    render: Render = paper
    """How these are shown to it."""

    account: Mapping[str, Any] = field(default_factory=dict)
    """What the answer's metadata says about it."""

    degraded: Sequence[Mapping[str, Any]] = ()
    """What did not work."""


def reason(name: str, error: BaseException | None = None, **details: Any) -> dict[str, Any]:
    """Return an entry of the metadata's `degraded`. A budget is a reason of its own."""
    if isinstance(error, BudgetReachedError):
        return {"reason": "budget_reached", "skipped": error.step}
    return {"reason": name, **details, **({"error": describe(error)} if error else {})}
