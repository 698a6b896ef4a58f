"""Which threads do something, so that a test sees what a call has left behind."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import thread as executor

from langchain_moa._runtime import threads

# Where threads wait for work: those of an executor, as an event loop has one to look up names, and the package's own.
_WAITING = (executor._worker.__code__, threads._work.__code__)  # type: ignore[attr-defined]


def threads_in_use() -> list[threading.Thread]:
    """Return the threads that run something, without the main one, the caller's own, and the loops of sync callers."""
    frames = sys._current_frames()
    own = (threading.main_thread(), threading.current_thread())
    return [
        thread
        for thread in threading.enumerate()
        if thread not in own
        and not thread.name.startswith("moa-loop")
        and (frame := frames.get(thread.ident or 0))
        and frame.f_code not in _WAITING
    ]
