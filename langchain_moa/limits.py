"""When a layer is closed, and the race of each proposer against it."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from time import monotonic
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.ballot import Ballot
from langchain_moa.threads import run_in_thread

Quorum = int | float | None
"""References that are enough: a count, or a fraction of the layer (0.5); `None`: all."""


class LeftBehindError(BaseException):
    """A call that nobody waits for was about to send another request. No `Exception`: an SDK would try again."""


_left_behind: ContextVar[threading.Event | None] = ContextVar("moa_left_behind", default=None)
"""Set in the thread of a proposer's call, when nobody waits for it any more."""


def check_not_left_behind() -> None:
    """Check that somebody waits for what the running thread is going to answer.

    Raises:
        LeftBehindError: Nobody does.
    """
    event = _left_behind.get()
    if event is not None and event.is_set():
        raise LeftBehindError


class LayerClosedError(TimeoutError):
    """The layer was closed before the proposer answered."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the layer was closed before it answered")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long the layers of a mixture wait."""

    quorum: Quorum = None
    grace: float = 0
    """Seconds that stragglers still get once the quorum is there."""

    deadline: float | None = None
    """Seconds for the whole call."""

    def needed(self, size: int) -> int:
        """Return how many references close a layer of `size` proposers."""
        if self.quorum is None:
            return size
        return math.ceil(self.quorum * size) if isinstance(self.quorum, float) else self.quorum


class LayerClock:
    """When one layer of one run is closed. Safe to use from threads and from event loops."""

    def __init__(self, *, size: int, needed: int, at_least: int, grace: float, closes_in: float | None) -> None:
        """Open the layer.

        Args:
            size: Proposers that there are.
            needed: Good answers that close it.
            at_least: Good answers without which no vote closes it.
            grace: Seconds between the last of the needed answers and the close.
            closes_in: Seconds after which it closes in any case.
        """
        self._ballot = Ballot(size)
        self._needed = needed
        self._at_least = at_least
        self._good = 0
        self._grace = grace
        self._closes_at = math.inf if closes_in is None else monotonic() + closes_in
        self._lock = threading.Lock()
        self._waiting: set[_Waiting | threading.Event] = set()
        self._finished = 0

    def finish(self, *, is_good: bool, vote: Hashable | None = None) -> int:
        """Count an answer or a failure; enough good answers close the layer, and so does a vote that is decided.

        Returns:
            How many proposers have finished, this one included.
        """
        with self._lock:
            self._finished += 1
            finished = self._finished
            self._good += is_good
            self._ballot.cast(vote)
            is_enough = is_good and self._good == self._needed
            is_decided = self._ballot.is_decided and self._good >= self._at_least
        if is_decided:
            self.close()
        elif is_enough:
            self.close(after=self._grace)
        return finished

    def close(self, *, after: float = 0) -> None:
        """Close the layer in `after` seconds, if it does not close before."""
        with self._lock:
            self._closes_at = min(self._closes_at, monotonic() + after)
            waiting = list(self._waiting)
        for one in waiting:
            if isinstance(one, threading.Event):
                one.set()
            else:
                one.hurry(self._closes_at)

    def check_open(self) -> None:
        """Check that an answer would still be taken.

        Raises:
            LayerClosedError: The layer is closed.
        """
        if monotonic() >= self._closes_at:
            raise LayerClosedError

    def wait_for(self, answer: Future[Any], seconds: float) -> Any:
        """Return what a thread is going to answer.

        Raises:
            TimeoutError: Its own time is over.
            LayerClosedError: The layer is closed.
        """
        ends_at = monotonic() + seconds
        # An event of its own: a condition that all share would wake every thread for each answer.
        changed = threading.Event()
        answer.add_done_callback(lambda _: changed.set())
        with self._watched(changed):
            while not answer.done():
                left = min(ends_at, self._closes_at) - monotonic()
                if left <= 0:
                    raise self._expired(ends_at, seconds)
                changed.wait(None if math.isinf(left) else left)
                changed.clear()
        return answer.result()

    async def limit(self, asking: Any, seconds: float) -> Any:
        """Return what a coroutine answers; it is cancelled when its time is over.

        Raises:
            TimeoutError: Its own time is over.
            LayerClosedError: The layer is closed.
        """
        ends_at = monotonic() + seconds
        try:
            async with asyncio.timeout(max(min(ends_at, self._closes_at) - monotonic(), 0)) as timeout:
                waiting = _Waiting(asyncio.get_running_loop(), timeout)
                with self._watched(waiting):
                    waiting.hurry(self._closes_at)
                    return await asking
        except TimeoutError:
            if timeout.expired():
                raise self._expired(ends_at, seconds) from None
            raise  # the model's own

    @contextmanager
    def _watched(self, waiting: _Waiting | threading.Event) -> Iterator[None]:
        with self._lock:
            self._waiting.add(waiting)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(waiting)

    def _expired(self, ends_at: float, seconds: float) -> Exception:
        if ends_at <= self._closes_at:
            return TimeoutError(f"no answer within {seconds:g} seconds")
        return LayerClosedError()


class _Waiting:
    """A coroutine that waits for an answer, and can be made to wait less."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: asyncio.Timeout) -> None:
        self._loop = loop
        self._timeout = timeout

    def hurry(self, closes_at: float) -> None:
        """Have it stop at a time of `monotonic`, if it would not stop before."""
        if math.isinf(closes_at) or self._timeout.expired():
            return
        # A loop's clock need not be `monotonic` (uvloop's is not).
        when = self._loop.time() + max(closes_at - monotonic(), 0)
        if (planned := self._timeout.when()) is None or when < planned:
            self._timeout.reschedule(when)


@dataclass(frozen=True, kw_only=True, eq=False)
class Race:
    """Asks a model until it answers, its time is over, or its layer is closed.

    On the async path the call is cancelled and its connection closes. A thread can't be cancelled: on the sync path the
    call is left behind, sends no further request, and ends by its own HTTP timeout.
    """

    model: Runnable[Any, Any]
    seconds: float
    """That one answer may take."""

    def ask(self, messages: Sequence[BaseMessage], config: RunnableConfig, clock: LayerClock) -> Any:
        """Ask in a thread of its own, so that it can be left behind. Raises as `LayerClock.wait_for` does."""
        clock.check_open()  # with `max_concurrency` its turn may come late
        answer: Future[Any] = Future()
        left_behind = threading.Event()
        context = copy_context()
        context.run(_left_behind.set, left_behind)

        def run() -> None:
            try:
                answer.set_result(context.run(self.model.invoke, messages, config))
            except BaseException as error:  # handed to whoever waits, as an executor does
                answer.set_exception(error)

        run_in_thread(run)
        try:
            return clock.wait_for(answer, self.seconds)
        finally:
            left_behind.set()

    async def aask(self, messages: Sequence[BaseMessage], config: RunnableConfig, clock: LayerClock) -> Any:
        """Ask. Raises as `LayerClock.limit` does."""
        clock.check_open()
        return await clock.limit(self.model.ainvoke(messages, config), self.seconds)
