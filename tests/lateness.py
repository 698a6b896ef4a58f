"""How late a process is because the machine is busy, so that a time limit can be kept to a second all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

_STEP = 0.01


def _waited(process: int) -> float:
    """Return the seconds for which a process's first thread could have run and had no core."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9


class Lateness:
    """A thread that does nothing but sleep, and adds up by how much it oversleeps: a context manager."""

    def __enter__(self) -> Self:
        self._is_over = False
        self._slept = 0.0, time.monotonic()
        self._thread = threading.Thread(target=self._measure, name="lateness", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    @property
    def seconds(self) -> float:
        """By how much it overslept until now, also where it has not woken up yet."""
        before, until = self._slept
        return before + max(time.monotonic() - until, 0.0)

    def _measure(self) -> None:
        while not self._is_over:
            # In one step: whoever reads it in between would count the last sleep twice.
            self._slept = self.seconds, time.monotonic() + _STEP
            time.sleep(_STEP)

    def wait(
        self, left: Callable[[], Any], seconds: float, since: float, others: Sequence[int] = ()
    ) -> tuple[Any, float]:
        """Wait until nothing is left, for `seconds` since `since` (`time.monotonic`), not counting lateness.

        Args:
            left: Return what is left.
            seconds: Not counting lateness.
            since: When it may have begun to go.
            others: Processes that have to do their part, by id: their lateness is not counted either.

        Returns:
            What is left, and the seconds that it took, lateness not counted.
        """

        def lateness() -> float:
            return self.seconds + sum(map(_waited, others))

        late = lateness()
        while True:
            found = left()
            took = time.monotonic() - since - (lateness() - late)
            if not found or took > seconds:
                return found, took
            time.sleep(_STEP)
