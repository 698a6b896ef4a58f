"""How long one proposer may take."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig


class TimeLimit(Runnable[Any, Any]):
    """Ask a Runnable, and stop waiting for it after a while.

    On the async path the call is cancelled and its connection closes. A thread can't be cancelled: on the sync path
    the call is abandoned, and ends by its own HTTP timeout.

    Raises:
        TimeoutError: It took longer.
    """

    def __init__(self, *, bound: Runnable[Any, Any], seconds: float) -> None:
        """Keep the limit.

        Args:
            bound: What is asked.
            seconds: How long it may take.
        """
        self.bound = bound
        self.seconds = seconds

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Ask in a thread of its own, so that it can be left behind."""
        answer: Future[Any] = Future()
        ask = copy_context().run

        def run() -> None:
            try:
                answer.set_result(ask(self.bound.invoke, input, config, **kwargs))
            except BaseException as error:  # handed to whoever waits, as an executor does
                answer.set_exception(error)

        # A daemon, and not a pool's thread: an abandoned call must not keep the interpreter from ending.
        threading.Thread(target=run, name="moa-proposer", daemon=True).start()
        try:
            return answer.result(self.seconds)
        except TimeoutError as error:
            raise self._expired(answer.done(), error) from None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Ask, and cancel the call when the time is over."""
        try:
            async with asyncio.timeout(self.seconds) as limit:
                return await self.bound.ainvoke(input, config, **kwargs)
        except TimeoutError as error:
            raise self._expired(not limit.expired(), error) from None

    def _expired(self, answered: bool, error: TimeoutError) -> TimeoutError:
        """Tell our own limit from a timeout that the model reported itself."""
        return error if answered else TimeoutError(f"no answer within {self.seconds:g} seconds")
