"""Adding up what the calls of a mixture used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from langchain_core.messages.ai import UsageMetadata, add_usage


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Add up the calls in an answer's `response_metadata["moa"]`; providers that report nothing are passed over.

    Returns:
        Tokens in and out, with details; `None` when no provider reported anything.
    """
    usages = [*(call["usage"] for layer in moa["layers"] for call in layer), moa["aggregator"]["usage"]]
    return reduce(add_usage, filter(None, usages), None)
