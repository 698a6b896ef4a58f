"""How many samples of a single model cost as much as a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.evals.report.spending import dollars, spending_of
from langchain_moa.evals.types import Answer
from langchain_moa.prices import Prices

MOST = 100
"""Samples at most, whatever the money would buy."""


def samples_for_calls(mixture: Sequence[Answer], single: Sequence[Answer], *, voted: bool) -> int | None:
    """Return how many samples of a single model, with or without a call that aggregates them, take as many calls.

    Args:
        mixture: The mixture's answers.
        single: The single model's answers.
        voted: Whether the samples vote; otherwise the model aggregates them in one more call.

    Returns:
        The number. `None`: the calls were not counted.
    """
    calls, one = spending_of(mixture, None).calls, spending_of(single, None).calls
    if calls is None or not one:
        return None
    return min(MOST, max(1, round(calls / one) - (not voted)))


def samples_for_cost(mixture: Sequence[Answer], single: Sequence[Answer], prices: Prices, *, voted: bool) -> int | None:
    """Return how many samples of a single model the mixture's money buys.

    The aggregating call reads all samples, which is part of its price.

    Args:
        mixture: The mixture's answers.
        single: The single model's answers.
        prices: Token prices.
        voted: As for `samples_for_calls`.

    Returns:
        The number, at least 1. `None`: a price is not known.
    """
    budget, sample = spending_of(mixture, prices), spending_of(single, prices)
    if budget.usd_per_100 is None or not sample.usd_per_100:
        return None
    cost = partial(_cost, single, sample.usd_per_100, prices, voted=voted)
    most = budget.usd_per_100 * (1 + 1e-9)  # a rounding error is no lack of money
    affordable = takewhile(lambda samples: cost(samples) <= most, range(1, MOST + 1))
    return max(affordable, default=1)


def _cost(single: Sequence[Answer], sample: float, prices: Prices, samples: int, *, voted: bool) -> float:
    """Return what so many samples and their aggregation cost, in US dollars per 100 questions."""
    if voted:
        return samples * sample
    told = [answer.usage for answer in single if answer.usage]
    read = [{model: _input(samples * used["output_tokens"]) for model, used in usage.items()} for usage in told]
    return (samples + 1) * sample + 100 * (dollars(read, prices) or 0.0) / len(told)


def _input(tokens: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=tokens, output_tokens=0, total_tokens=tokens)
