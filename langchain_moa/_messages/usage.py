"""Adding up what the calls of a mixture used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from langchain_core.messages.ai import UsageMetadata, add_usage


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Add up the calls in an answer's `response_metadata["moa"]`; providers that report nothing are passed over.

    Returns:
        Tokens in and out, with details; `None` when no provider reported anything.
    """
    calls = [*(call for layer in moa["layers"] for call in layer), *moa.get("steps", ()), moa["aggregator"] or {}]
    usages = [*moa.get("gate", {}).get("usage", {}).values(), *(call.get("usage") for call in calls)]
    return add_up(usages)


def add_up(usages: Iterable[UsageMetadata | None]) -> UsageMetadata | None:
    """Return the sum of usages; `None` when there is none."""
    return reduce(add_usage, filter(None, usages), None)
