"""Bounded concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


async def for_each(items: Iterable[_Item], work: Callable[[_Item], Awaitable[None]], *, concurrency: int) -> None:
    """Run `work` on every item, at most `concurrency` at a time, in order.

    Raises:
        Exception: The first exception of `work`; the remaining work is canceled.
    """
    semaphore = asyncio.Semaphore(concurrency)

    async def one(item: _Item) -> None:
        async with semaphore:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(item))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
