"""How late a process is because the machine is busy, so that a time limit can be kept to a second all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

_STEP = 0.01


class Lateness:
    """A thread that does nothing but sleep, and adds up by how much it oversleeps: a context manager."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._is_over = False
        self._thread = threading.Thread(target=self._measure, name="lateness", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def _measure(self) -> None:
        while not self._is_over:
            started = time.monotonic()
            time.sleep(_STEP)
            self.seconds += time.monotonic() - started - _STEP

    def wait(self, left: Callable[[], Any], seconds: float, since: float) -> tuple[Any, float]:
        """Wait until nothing is left, for `seconds` since `since` (`time.monotonic`), not counting lateness.

        Returns:
            What is left, and the seconds that it took, lateness not counted.
        """
        late = self.seconds
        while True:
            found = left()
            took = time.monotonic() - since - (self.seconds - late)
            if not found or took > seconds:
                return found, took
            time.sleep(_STEP)
