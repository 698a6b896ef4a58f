"""What replies cost, in US dollars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NotRequired

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from typing_extensions import TypedDict

from langchain_moa.prices import Cost, Prices


class Bill(TypedDict):
    """What a call cost, as the answer's metadata shows it."""

    cost: NotRequired[float | None]
    """US dollars, as far as prices are known; `None`: none is. Missing without prices, and when nothing was asked."""

    unpriced: NotRequired[list[str]]
    """Models whose part of the cost is unknown: they have no price, or their provider told no usage."""


def cost_of(message: AIMessage, prices: Prices | None, *, model: str, provider: str | None) -> Cost | None:
    """Return what a reply cost; `None` when that is unknown.

    Args:
        message: The reply. Where it tells its cost by itself, it is taken at its word: OpenRouter does, core for an
            answer out of a cache, and a mixture.
        prices: Token prices.
        model: Name of the model, for a reply that does not tell it or tells one that has no price (`gpt-5-2026-01-01`).
        provider: LangChain's name for the provider (`ls_provider`).
    """
    metadata, usage = message.response_metadata, message.usage_metadata
    reported = metadata.get("cost") if provider == "openrouter" else None
    for told in (usage.get("total_cost") if usage else None, reported):
        if isinstance(told, int | float):
            return Cost(told)
    if nested := _nested(message):
        return None if nested["unpriced"] or nested["total"] is None else Cost(nested["total"])
    if usage is None or prices is None:
        return None
    names = dict.fromkeys((_name(message, model), model))
    return next((cost for name in names if (cost := prices.cost(name, usage, provider))), None)


def bill_of(message: AIMessage, prices: Prices, *, model: str, provider: str | None) -> Bill:
    """Return the bill of a reply. See `cost_of`."""
    if known := cost_of(message, prices, model=model, provider=provider):
        return _bill([known.total], [])
    if nested := _nested(message):
        return _bill([nested["total"]], nested["unpriced"])
    return _bill([], [_name(message, model)])


def bill_of_models(usages: Mapping[str, UsageMetadata], prices: Prices) -> Bill:
    """Return the bill of several models that worked together, by the usage of each."""
    costs = {name: prices.cost(name, usage) for name, usage in usages.items()}
    return _bill([cost and cost.total for cost in costs.values()], [name for name, cost in costs.items() if not cost])


def calls_of(moa: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all calls in an answer's `response_metadata["moa"]`, in their order."""
    if gate := moa.get("gate"):
        yield gate
    for calls in moa["layers"]:
        yield from calls
    yield from moa.get("steps", ())
    if aggregator := moa["aggregator"]:
        yield aggregator


def total_of(bills: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of bills: `total` in US dollars, and the models `unpriced` that are not in it."""
    bills = list(bills)
    unpriced = dict.fromkeys(name for bill in bills for name in bill.get("unpriced", ()))
    return {"total": _sum(bill.get("cost") for bill in bills), "unpriced": list(unpriced)}


def _nested(message: AIMessage) -> dict[str, Any] | None:
    """Return what a mixture's answer says of its cost, as `total_of` made it."""
    match message.response_metadata.get("moa"):
        case {"cost": {"total": float() | int() | None as total, "unpriced": [*unpriced]}}:
            return {"total": total, "unpriced": unpriced}
    return None


def _name(message: AIMessage, model: str) -> str:
    """Return the model's name as the reply tells it, else as it is configured."""
    told = message.response_metadata.get("model_name")
    return told if told and isinstance(told, str) else model


def _bill(costs: Iterable[float | None], unpriced: list[str]) -> Bill:
    bill = Bill(cost=_sum(costs))
    if unpriced:
        bill["unpriced"] = unpriced
    return bill


def _sum(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    # To the last digit that a price for a million tokens can have, and not those of binary floats.
    return round(math.fsum(known), 12) if known else None
