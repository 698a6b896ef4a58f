"""Sync callers: everything is written once, as coroutines, and runs for them on an event loop of the package's own.

One loop serves all callers, and never waits. Models whose async methods are known not to block it are asked there, for
less CPU. The others are asked by their sync methods, each in a thread.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa._runtime.threads import run_in_thread

_Input = TypeVar("_Input")
_Output = TypeVar("_Output")

_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""By depth. What runs on a loop may itself wait for a sync call (a callback handler can ask a model), so that calls
inside of a call have the next."""

_depth: ContextVar[int] = ContextVar("moa_depth", default=0)

# A forked process has the loops, and not their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loops.clear)


class LeftBehindError(BaseException):
    """A call that nobody waits for was about to go on. No `Exception`: an SDK would try again."""


class _Caller:
    """Who waits for what a thread is doing."""

    def __init__(self) -> None:
        self.has_left = False
        self._closers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Wait no longer, and close what the thread may be reading from."""
        with self._lock:  # nothing may be closed once it has been handed to somebody else
            self.has_left = True
            for close in self._closers:
                close()

    def add(self, close: Callable[[], None]) -> None:
        with self._lock:
            if self.has_left:
                raise LeftBehindError
            self._closers.append(close)

    def remove(self, close: Callable[[], None]) -> None:
        with self._lock:
            self._closers.remove(close)


_callers: ContextVar[tuple[_Caller, ...]] = ContextVar("moa_callers", default=())
"""In a thread: who waits for it, and for the calls around it."""


def check_not_left_behind() -> None:
    """Check that somebody waits for what the running thread is going to answer.

    Raises:
        LeftBehindError: Nobody does.
    """
    for caller in _callers.get():
        if caller.has_left:
            raise LeftBehindError


def when_left_behind(close: Callable[[], None]) -> Callable[[], None]:
    """Have `close` called, from another thread and without blocking, when nobody waits for the running thread any more.

    Returns:
        What ends this. Once it has returned, `close` is not called.

    Raises:
        LeftBehindError: Nobody waits for it already.
    """
    with ExitStack() as watching:
        for caller in _callers.get():
            caller.add(close)
            watching.callback(caller.remove, close)
        return watching.pop_all().close


def start(coroutine: Coroutine[Any, Any, _Output]) -> Future[_Output]:
    """Run a coroutine for a sync caller, in a copy of the caller's context. To cancel the future cancels it."""
    # asyncio's own future would raise a `TimeoutError` of its own in place of a model's.
    done: Future[_Output] = Future()

    async def run() -> None:
        with suppress(InvalidStateError):  # it was canceled
            try:
                done.set_result(await coroutine)
            except BaseException as error:
                done.set_exception(error)

    depth = _depth.get()
    context = copy_context()
    context.run(_depth.set, depth + 1)
    running = context.run(asyncio.run_coroutine_threadsafe, run(), _loop(depth))
    done.add_done_callback(lambda _: done.cancelled() and running.cancel())
    return done


async def outcome(future: Future[_Output]) -> _Output:
    """Return what a thread sets, or raise it: `asyncio.wrap_future`, but for a `TimeoutError`, which stays the same."""
    is_set = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake(_: Future[_Output]) -> None:
        with suppress(RuntimeError):  # the loop is closed: a thread that was left behind has come to its end
            loop.call_soon_threadsafe(is_set.set)

    future.add_done_callback(wake)
    await is_set.wait()
    return future.result()


async def in_thread(function: Callable[[], _Output]) -> _Output:
    """Return what a sync function returns in a thread of its own.

    The thread is left behind when this is canceled: see `check_not_left_behind` and `when_left_behind`. What it has
    returned, such as a stream, may go on in another thread.
    """
    caller = _Caller()
    context = copy_context()
    context.run(_callers.set, (*_callers.get(), caller))

    def begin() -> _Output:
        check_not_left_behind()  # it may have been canceled before the thread got its turn
        return function()

    try:
        return await outcome(run_in_thread(partial(context.run, begin)))
    except BaseException:  # not at its end: a stream whose first token was read here goes on
        caller.leave()
        raise


def never_blocks(model: Runnable[Any, Any]) -> bool:
    """Return whether a model says that its async methods may be used on an event loop that serves others too."""
    return getattr(model, "never_blocks", False)


async def call(model: Runnable[Any, _Output], input: Any, config: RunnableConfig, **kwargs: Any) -> _Output:
    """Ask a model in the way of the caller: `ainvoke`, or for a sync caller `invoke` if the model might block."""
    if not never_blocks(model) and asyncio.get_running_loop() in _loops.values():
        return await in_thread(partial(_invoke, model, input, config, **kwargs))
    return await model.ainvoke(input, config, **kwargs)


# What a RunnableLambda says of an async function, and LangGraph of a node that is one (langchain-core 1.8,
# langgraph 1.2).
_ASYNC_ONLY = re.compile("Cannot invoke a coroutine function synchronously|No synchronous function provided")


def _invoke(model: Runnable[Any, _Output], input: Any, config: RunnableConfig, **kwargs: Any) -> _Output:
    """Ask a model by its sync method; one that has none, such as an async function, on an event loop of its own."""
    try:
        return model.invoke(input, config, **kwargs)
    except TypeError as error:
        if not _ASYNC_ONLY.search(str(error)):
            raise
    return asyncio.run(model.ainvoke(input, config, **kwargs))


class AsyncNode(Runnable[_Input, _Output]):
    """A Runnable that is written as a coroutine, for callers of both kinds."""

    @abstractmethod
    async def ainvoke(self, input: _Input, config: RunnableConfig | None = None, **kwargs: Any) -> _Output:
        """Do what it does; models are asked by `call`."""

    def invoke(self, input: _Input, config: RunnableConfig | None = None, **kwargs: Any) -> _Output:
        """Do it for a sync caller."""
        done = start(self.ainvoke(input, config, **kwargs))
        try:
            return done.result()
        finally:
            done.cancel()  # the caller was interrupted


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        # A task that raises one of these stops its loop, which is not only its own.
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()


def _loop(depth: int) -> asyncio.AbstractEventLoop:
    if (loop := _loops.get(depth)) is None:
        new = asyncio.new_event_loop()
        loop = _loops.setdefault(depth, new)
        if loop is new:
            threading.Thread(target=_serve, args=(loop,), name=f"moa-loop-{depth}", daemon=True).start()
        else:  # another thread was first
            new.close()
    return loop
