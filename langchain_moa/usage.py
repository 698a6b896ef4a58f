"""Adding up what the calls of a mixture used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from langchain_core.messages.ai import UsageMetadata, add_usage


def sum_usage(usages: Iterable[UsageMetadata | None]) -> UsageMetadata | None:
    """Add up usages; providers that report nothing are passed over.

    Returns:
        Tokens in and out, with details; `None` when no provider reported anything.
    """
    return reduce(add_usage, (usage for usage in usages if usage), None)


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Add up the calls in an answer's `response_metadata["moa"]`."""
    proposers = [call["usage"] for layer in moa["layers"] for call in layer]
    return sum_usage([*proposers, moa["aggregator"]["usage"]])
