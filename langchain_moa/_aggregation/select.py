"""`select`: a judge chooses the best reference, which is the answer as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from langchain_moa._aggregation.outcome import Ask, Outcome
from langchain_moa._messages.prompts import to_select
from langchain_moa.exceptions import MoAError
from langchain_moa.state import Reference


class Choice(BaseModel):
    """Which response is the best."""

    best: int = Field(description="Number of the best response.", ge=1)
    reason: str = Field(description="Why it is the best, in one sentence.")


class VerdictsDisagreeError(MoAError):
    """The judge chose another candidate when it saw them in the other order."""


async def select(ask: Ask, candidates: Sequence[Reference], *, debias: bool, window: int | None) -> Outcome:
    """Have a judge choose the best candidate.

    With more candidates than a window has places, the best of each window stands against those of the next one.

    Args:
        ask: Asks the judge.
        candidates: Complete references, in the order in which they are shown; at least one.
        debias: Ask the judge twice, in both orders.
        window: Maximum number of candidates that the judge sees at once; `None`: all.

    Raises:
        VerdictsDisagreeError: The two verdicts differ.
        Exception: The judge failed, or its reply can't be used.
    """
    first, left = candidates[: window or None], list(candidates[window:] if window else [])
    best, why = await _best_of(ask, first, debias=debias)
    while left:
        assert window is not None
        places = window - 1
        best, why = await _best_of(ask, [best, *left[:places]], debias=debias)
        left = left[places:]
    selected = {"proposer": best["proposer"], "reason": why}
    return Outcome(aggregation="select", winner=best, account={"selected": selected})


async def _best_of(ask: Ask, candidates: Sequence[Reference], *, debias: bool) -> tuple[Reference, str]:
    if len(candidates) == 1:
        return candidates[0], "the only candidate"
    best, why = await _verdict(ask, "select", candidates)
    if debias and (await _verdict(ask, "select_reversed", candidates[::-1]))[0] is not best:
        raise VerdictsDisagreeError("the judge chose another candidate in the other order")
    return best, why


async def _verdict(ask: Ask, step: str, candidates: Sequence[Reference]) -> tuple[Reference, str]:
    texts = [candidate["content"] for candidate in candidates]
    choice = await ask(step, texts, to_select, _choice_among(len(candidates)))
    return candidates[choice.best - 1], choice.reason


@cache
def _choice_among(candidates: int) -> type[Choice]:
    """Return a schema that can name none but so many candidates."""
    numbers: Any = Literal[tuple(range(1, candidates + 1))]
    field = (numbers, Field(description="Number of the best response."))
    return create_model("Verdict", __base__=Choice, __doc__=Choice.__doc__, best=field)
