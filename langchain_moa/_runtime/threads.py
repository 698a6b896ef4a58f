"""Threads that can be left behind, used again and again: to start one costs as much as a part of a call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

_Result = TypeVar("_Result")

_Job = Callable[[], None]

# An idle thread ends after so many seconds.
_KEPT_SECONDS = 5

_idle: list[SimpleQueue[_Job]] = []
"""Where threads without work wait for some. The last one in is the first one out, so that the others can end."""

# A forked process has the list, and not the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def run_in_thread(function: Callable[[], _Result]) -> Future[_Result]:
    """Call a function in a thread of its own.

    The threads are daemons, and not a pool's: a call that nobody waits for must not keep the interpreter from ending.

    Returns:
        What it is going to return or raise.
    """
    future: Future[_Result] = Future()

    def job() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # handed to whoever waits, as an executor does
            future.set_exception(error)

    try:
        jobs = _idle.pop()
    except IndexError:
        jobs = SimpleQueue()
        threading.Thread(target=_work, args=(jobs,), name="moa", daemon=True).start()
    jobs.put(job)
    return future


def _work(jobs: SimpleQueue[_Job]) -> None:
    while True:
        try:
            job = jobs.get(timeout=_KEPT_SECONDS)
        except Empty:
            try:
                _idle.remove(jobs)
            except ValueError:  # somebody has just taken it, and a job is on its way
                continue
            return
        job()
        del job  # what it holds would live on while the thread is idle
        _idle.append(jobs)
