"""Bills of replies in the course of a run, whose prices may still have to be loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import AIMessage, UsageMetadata

from langchain_moa._messages.costs import Bill, bill_of, bill_of_models
from langchain_moa._runtime.sync_bridge import in_thread
from langchain_moa._runtime.threads import run_in_thread
from langchain_moa.prices import Prices, is_loaded, load_package

_loading: Future[Any] | None = None


def load_prices_meanwhile() -> None:
    """Load `genai-prices` on a thread of its own, once: its import takes longer than a call should wait for it."""
    global _loading
    if _loading is None and not is_loaded():
        _loading = run_in_thread(load_package)


def _wait_for_loading() -> None:
    if _loading is not None:
        _loading.exception()


# A forked process would have the locks of a half-finished import, and nobody to release them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_loading)


async def bill(
    prices: Prices | None,
    reply: BaseMessage | Mapping[str, UsageMetadata] | None,
    *,
    model: str = "",
    provider: str | None = None,
) -> Bill:
    """Return the bill of a reply, or of the models behind it; an empty one without prices or a reply.

    Args:
        prices: Token prices.
        reply: A model's reply, or the usage by model name.
        model: The model's name as it is configured.
        provider: LangSmith's name for the model's provider.
    """
    if prices is None or reply is None:
        return Bill()
    if not is_loaded():
        await in_thread(load_package)
    if isinstance(reply, AIMessage):
        return bill_of(reply, prices, model=model, provider=provider)
    return bill_of_models(reply, prices) if isinstance(reply, Mapping) else Bill(cost=None, unpriced=[model])
