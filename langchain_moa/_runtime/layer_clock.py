"""When a layer is closed, and what that means for those who have not answered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from langchain_moa._runtime.ballot import Ballot

_Answer = TypeVar("_Answer")

Quorum = int | float | None
"""References that are enough: a count, or a fraction of the layer (0.5); `None`: all."""


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
    """When one layer of one run is closed."""

    def __init__(self, *, size: int, needed: int, at_least: int, grace: float, closes_in: float | None) -> None:
        """Open the layer, on the loop that its run is on.

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
        self._loop = asyncio.get_running_loop()
        self._closes_at = math.inf if closes_in is None else self._loop.time() + closes_in
        self._timeouts: set[asyncio.Timeout] = set()
        self._finished = 0

    def finish(self, *, is_good: bool, vote: Hashable | None = None) -> int:
        """Count an answer or a failure; enough good answers close the layer, and so does a vote that is decided.

        Returns:
            How many proposers have finished, this one included.
        """
        self._finished += 1
        self._good += is_good
        self._ballot.cast(vote)
        if self._ballot.is_decided and self._good >= self._at_least:
            self._close()
        elif is_good and self._good == self._needed:
            self._close(after=self._grace)
        return self._finished

    def _close(self, *, after: float = 0) -> None:
        """Close the layer in `after` seconds, if it does not close before."""
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
        """Return what is answered; who asks is cancelled when the time is over.

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
