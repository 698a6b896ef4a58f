"""When a layer is closed, and what that means for those who have not answered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Hashable
from fractions import Fraction
from typing import TypeVar

from langchain_moa._runtime.ballot import Ballot

_Answer = TypeVar("_Answer")


class LayerClosedError(TimeoutError):
    """The layer was closed before the proposer answered."""

    def __init__(self) -> None:
        super().__init__("the layer was closed before it answered")


def needed_references(quorum: int | float | None, size: int) -> int:
    """Return how many references close a layer of `size` proposers: a count, or a fraction of the layer."""
    if quorum is None:
        return size
    # As a decimal fraction: 0.07 of 100 are 7, and not the 8 of binary floats.
    return math.ceil(Fraction(str(quorum)) * size) if isinstance(quorum, float) else quorum


class LayerClock:
    """When one layer of one run is closed."""

    def __init__(
        self,
        *,
        needed: int,
        grace: float = 0,
        closes_in: float | None = None,
        reused: int = 0,
        finished: int | None = None,
        ballot: Ballot | None = None,
        at_least: int = 0,
    ) -> None:
        """Open the layer, on the event loop of its run.

        Args:
            needed: Number of complete references that close it.
            grace: Seconds between the last of the needed references and the close.
            closes_in: Seconds after which it closes in any case.
            reused: Number of complete references that are there already.
            finished: Number of proposers that have finished already. Default: `reused`.
            ballot: Of a layer that votes; a decided vote closes the layer too.
            at_least: Number of complete references without which no vote closes it.
        """
        self._ballot = ballot
        self._needed = needed
        self._at_least = at_least
        self._good = reused
        self._finished = reused if finished is None else finished
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._closes_at = math.inf if closes_in is None else self._loop.time() + closes_in
        self._timeouts: set[asyncio.Timeout] = set()
        self.is_settled = False
        """Whether enough references or a decided vote close the layer, and not just the time."""

        if reused >= needed or self._is_voted():
            self._close()

    def finish(self, *, is_good: bool, vote: Hashable | None = None) -> int:
        """Count a complete reference or a failure; enough references close the layer, and so does a decided vote.

        Returns:
            Number of proposers that have finished, this one included.
        """
        self._finished += 1
        self._good += is_good
        if self._ballot:
            self._ballot.cast(vote)
        if self._is_voted():
            self._close()
        elif is_good and self._good == self._needed:
            self._close(after=self._grace)
        return self._finished

    def _is_voted(self) -> bool:
        return self._ballot is not None and self._ballot.is_decided and self._good >= self._at_least

    def _close(self, *, after: float = 0) -> None:
        """Close the layer in `after` seconds, if it does not close before."""
        self.is_settled = True
        self._closes_at = min(self._closes_at, self._loop.time() + after)
        for timeout in self._timeouts:
            if not timeout.expired() and (timeout.when() or 0) > self._closes_at:
                timeout.reschedule(self._closes_at)

    def check_open(self) -> None:
        """Check that an answer would still be taken.

        Raises:
            LayerClosedError: The layer is closed.
        """
        if self._loop.time() >= self._closes_at:
            raise LayerClosedError

    async def limit(self, asking: Awaitable[_Answer], seconds: float) -> _Answer:
        """Return what is answered; who asks is canceled when the time is over.

        Raises:
            TimeoutError: Its own time is over.
            LayerClosedError: The layer is closed.
        """
        ends_at = self._loop.time() + seconds
        timeout = asyncio.timeout_at(min(ends_at, self._closes_at))
        self._timeouts.add(timeout)
        try:
            async with timeout:
                return await asking
        except TimeoutError:
            if not timeout.expired():
                raise  # the model's own
            if ends_at > self._closes_at:
                raise LayerClosedError from None
            msg = f"no answer within {seconds:g} seconds"
            raise TimeoutError(msg) from None
        finally:
            self._timeouts.discard(timeout)
