"""`select`: a judge chooses the best reference, which is the answer as it stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from random import Random
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, create_model

from langchain_moa._aggregation.outcome import Ask, Outcome, reason
from langchain_moa._messages.prompts import Render, to_select
from langchain_moa.state import Reference


class Choice(BaseModel):
    """Which response is the best."""

    best: int = Field(description="Number of the best response.", ge=1)
    reason: str = Field(description="Why it is the best, in one sentence.")


class _Verdict(NamedTuple):
    order: Sequence[Reference]
    best: Reference
    reason: str


async def select(
    ask: Ask, candidates: Sequence[Reference], *, samples: int, criteria: str | None, window: int | None, random: Random
) -> Outcome:
    """Have a judge choose the best candidate.

    Judges favor a place, mostly the first (lechmazur/position_bias, 2026-04: 63 to 37), so that candidates are shown
    in a random order. With more candidates than a window has places, the best of each window stands against those of
    the next one.

    Args:
        ask: Asks the judge.
        candidates: Complete references; at least one.
        samples: Number of verdicts, each over another order.
        criteria: What counts, in the user's words.
        window: Maximum number of candidates that the judge sees at once; `None`: all.
        random: Where the orders come from.

    Returns:
        The winner. There is none when no candidate is the best by more than half of the verdicts.
    """
    render = partial(to_select, criteria=criteria)
    places = window or len(candidates)
    standing, left = list(candidates[:places]), list(candidates[places:])
    verdicts, why, failed = list[_Verdict](), "the only candidate", list[Mapping[str, Any]]()
    while len(standing) > 1:
        given, unusable = await _verdicts(ask, random.sample(standing, len(standing)), samples, render)
        verdicts, failed = [*verdicts, *given], [*failed, *unusable]
        votes = Counter(verdict.best["proposer"] for verdict in given)
        winner = next((verdict for verdict in given if 2 * votes[verdict.best["proposer"]] > samples), None)
        if winner is None:
            disagree = [reason("verdicts_disagree")] if given else []
            return Outcome(aggregation="select", account=_account(verdicts), degraded=[*failed, *disagree])
        why = winner.reason
        standing, left = [winner.best, *left[: places - 1]], left[places - 1 :]
    selected = {"proposer": standing[0]["proposer"], "reason": why}
    account = {"selected": selected, **_account(verdicts)}
    return Outcome(aggregation="select", winner=standing[0], account=account, degraded=failed)


async def _verdicts(
    ask: Ask, candidates: Sequence[Reference], samples: int, render: Render
) -> tuple[list[_Verdict], list[Mapping[str, Any]]]:
    """Return the verdicts of one comparison, asked for side by side, and what is wrong with unusable ones."""
    given, unusable = list[_Verdict](), list[Mapping[str, Any]]()
    steps = ["select", *(f"select_{number}" for number in range(2, samples + 1))]
    asking = [_verdict(ask, step, order, render) for step, order in zip(steps, _orders(candidates), strict=False)]
    for step, verdict in zip(steps, await asyncio.gather(*asking, return_exceptions=True), strict=True):
        if isinstance(verdict, BaseException):
            unusable.append(reason("verdict_unusable", verdict, step=step))
        else:
            given.append(verdict)
    return given, unusable


def _orders(candidates: Sequence[Reference]) -> Iterator[Sequence[Reference]]:
    """Yield orders in which the places are spread evenly: this one and its reverse, then both turned by one place."""
    while True:
        yield candidates
        yield candidates[::-1]
        candidates = [*candidates[1:], candidates[0]]


async def _verdict(ask: Ask, step: str, order: Sequence[Reference], render: Render) -> _Verdict:
    texts = [candidate["content"] for candidate in order]
    choice = await ask(step, texts, render, _choice_among(len(order)))
    return _Verdict(order, order[choice.best - 1], choice.reason)


def _account(verdicts: Sequence[_Verdict]) -> dict[str, Any]:
    """Return what the answer's metadata says of the verdicts, if there were any."""
    shown = [
        {"order": [each["proposer"] for each in order], "best": best["proposer"], "reason": why}
        for order, best, why in verdicts
    ]
    return {"verdicts": shown} if shown else {}


@cache
def _choice_among(candidates: int) -> type[Choice]:
    """Return a schema that can name none but so many candidates."""
    numbers: Any = Literal[tuple(range(1, candidates + 1))]
    field = (numbers, Field(description="Number of the best response."))
    return create_model("Verdict", __base__=Choice, __doc__=Choice.__doc__, best=field)
