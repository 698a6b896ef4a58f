"""One run of the graph inside a `ChatMoA` call: under the call's own run, and out of reach of the graph around it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, closing, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManager, BaseRunManager, CallbackManager, Callbacks
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph.state import CompiledStateGraph

from langchain_moa._runtime.call_context import AnswerForm, CallContext, enclosing_writer
from langchain_moa._runtime.sync_bridge import check_not_left_behind, in_thread, outcome, start
from langchain_moa._runtime.tracing import Audience, HandlerTypes, without
from langchain_moa.exceptions import DeadlineError

# Chunks that wait for a caller who is slow to read; then the aggregator's provider waits too.
_MOST_UNREAD = 64


@dataclass(kw_only=True, eq=False)
class GraphRun:
    """The graph, asked once. Exactly one of its four methods is called, once."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    label: str
    """The mixture's name."""

    messages: Sequence[BaseMessage]
    parent: BaseRunManager
    """The run of the `ChatMoA` call."""

    aggregator_kwargs: Mapping[str, Any]
    answer_form: AnswerForm
    parameters: Mapping[str, Any]
    """What traces show of the call itself, and not of the runs inside."""

    inner_handlers: HandlerTypes = ()
    """Handlers that see every call, beside tracers and the usage handler."""

    deadline: float | None = None
    """Seconds for all of it."""

    audience: Audience = field(init=False)

    def __post_init__(self) -> None:
        """Have the parent's tracers see and count the runs inside, and not their sum again."""
        # An order to a graph's state, and nothing that a model takes. Here it is none: the messages stay.
        self.messages = [message for message in self.messages if not isinstance(message, RemoveMessage)]
        self.audience = Audience(self.parent.handlers, self.inner_handlers)
        self.audience.hide_usage(self.parent)

    def invoke(self) -> AIMessage:
        """Return the answer."""
        return next(self._items(streaming=False))

    async def ainvoke(self) -> AIMessage:
        """Return the answer."""
        async with aclosing(self._aitems(streaming=False)) as items:
            return await anext(items)

    def stream(self) -> Iterator[AIMessage]:
        """Yield the aggregator's chunks as they come, then the whole answer."""
        return self._items(streaming=True)

    def astream(self) -> AsyncGenerator[AIMessage]:
        """Yield the aggregator's chunks as they come, then the whole answer."""
        return self._aitems(streaming=True)

    def _items(self, *, streaming: bool) -> Iterator[AIMessage]:
        """Run the graph out of the caller's thread; it is canceled when the caller goes away."""
        items: SimpleQueue[Any] = SimpleQueue()

        async def hand_over(chunk: AIMessageChunk) -> None:
            items.put(chunk)

        config = self._config(hand_over, partial(self._draw, items)) if streaming else self._config()
        ends_at = None if self.deadline is None else monotonic() + self.deadline
        running = _outside().run(start, self.graph.ainvoke(self._input(), config))
        running.add_done_callback(items.put)
        try:
            while (item := items.get(timeout=ends_at and max(ends_at - monotonic(), 0))) is not running:
                if ends_at is not None and monotonic() >= ends_at:  # a slow reader finds chunks without waiting
                    raise Empty
                if isinstance(item, _Drawing):
                    yield from item
                else:
                    yield item
        except Empty:
            raise self._too_late() from None
        finally:
            running.cancel()
        yield running.result()["messages"][-1]

    async def _draw(
        self, items: SimpleQueue[Any], chunks: Generator[AIMessageChunk], patience: asyncio.Timeout
    ) -> None:
        """Have the sync caller's own thread read the aggregator's stream: changing threads at each token costs more.

        Nobody can interrupt a thread that waits inside of the stream. So another thread waits for the first token, and
        for all of them when there is a deadline.
        """
        if self.deadline is None:
            first = await in_thread(partial(_first, chunks))
        else:
            first = await in_thread(partial(_hand_over, chunks, items, patience, asyncio.get_running_loop()))
        if first is None:
            return
        _stop_waiting(patience)
        drawing = _Drawing(first, chunks)
        items.put(drawing)
        await outcome(drawing.end)

    async def _aitems(self, *, streaming: bool) -> AsyncGenerator[AIMessage]:
        """Run the graph in a task of its own, which is canceled when the caller goes away."""
        items: asyncio.Queue[Any] = asyncio.Queue()
        room = asyncio.Semaphore(_MOST_UNREAD)

        async def hand_over(chunk: AIMessageChunk) -> None:
            await room.acquire()
            items.put_nowait(chunk)

        config = self._config(hand_over if streaming else None)
        task = asyncio.create_task(self.graph.ainvoke(self._input(), config), context=_outside())
        task.add_done_callback(items.put_nowait)
        loop = asyncio.get_running_loop()
        ends_at = math.inf if self.deadline is None else loop.time() + self.deadline
        alarm = None if self.deadline is None else loop.call_at(ends_at, items.put_nowait, None)
        try:
            while isinstance(item := await items.get(), AIMessageChunk):
                room.release()
                if loop.time() >= ends_at:  # before a slow reader has come to the alarm
                    break
                yield item
            if item is not task:
                raise self._too_late()
            yield (await task)["messages"][-1]
        finally:
            if alarm:
                alarm.cancel()
            if task.cancel():  # the caller went away before the end
                await asyncio.wait([task])

    def _too_late(self) -> DeadlineError:
        return DeadlineError(f"There was no complete answer within the deadline of {self.deadline:g} seconds.")

    def _input(self) -> dict[str, Any]:
        # Copies without ids: LangGraph merges messages that have the same one. Traces show these; the models get the
        # conversation as it was given, from the call's context.
        return {"messages": [message.model_copy(update={"id": None}) for message in self.messages]}

    def _config(
        self,
        on_chunk: Callable[[AIMessageChunk], Awaitable[None]] | None = None,
        on_chunks: Callable[[Generator[AIMessageChunk], asyncio.Timeout], Awaitable[None]] | None = None,
    ) -> RunnableConfig:
        """Return the config of the graph's run: a child of the call's run, with only the handlers that look inside."""
        parent = self.parent
        # A model's run manager has no get_child() (langchain-core 1.7).
        inside = AsyncCallbackManager(handlers=[], parent_run_id=parent.run_id)
        inside.set_handlers(self.audience.inside(self.parameters))
        inside.add_tags(parent.inheritable_tags)
        metadata = {}
        if parent.inheritable_metadata:
            metadata = without(parent.inheritable_metadata, self.parameters)
            inside.add_metadata(metadata)
        handlers = self.audience.handlers
        # Copies: a patched manager adds to the lists that it is given, as OpenInference's does.
        listeners = AsyncCallbackManager(
            handlers=[*handlers], inheritable_handlers=[*handlers], parent_run_id=parent.run_id
        )
        call = CallContext(
            messages=self.messages,
            listeners={"callbacks": listeners},
            write=enclosing_writer(),
            on_chunk=on_chunk,
            on_chunks=on_chunks,
            aggregator_kwargs=self.aggregator_kwargs,
            answer_form=self.answer_form,
            told=((var_child_runnable_config.get() or {}).get("configurable", {}), _configurable.get() or {}, metadata),
        )
        return {"callbacks": inside, "configurable": call.as_configurable()}


class _Drawing:
    """An aggregator's stream, drawn by the caller's own thread while the graph waits for its end."""

    def __init__(self, first: AIMessageChunk, chunks: Generator[AIMessageChunk]) -> None:
        self._first = first
        self._chunks = chunks
        self._context = copy_context()
        self.end: Future[None] = Future()

    def __iter__(self) -> Iterator[AIMessageChunk]:
        """Draw it. What goes wrong is raised where the graph waits."""
        try:
            yield self._first
            while (chunk := self._context.run(next, self._chunks, None)) is not None:
                yield chunk
        except Exception as error:
            self.end.set_exception(error)
        else:
            self.end.set_result(None)
        finally:  # the caller may have gone away
            self._context.run(self._chunks.close)


def _first(chunks: Generator[AIMessageChunk]) -> AIMessageChunk | None:
    """Read the first of a stream's chunks, and close the stream when it came too late."""
    first = next(chunks, None)
    try:
        check_not_left_behind()
    except BaseException:
        chunks.close()
        raise
    return first


def _hand_over(
    chunks: Generator[AIMessageChunk],
    items: SimpleQueue[Any],
    patience: asyncio.Timeout,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Read a stream in a thread of its own, as long as somebody waits for it."""
    with closing(chunks):
        for number, chunk in enumerate(chunks):
            check_not_left_behind()
            if number == 0:
                loop.call_soon_threadsafe(_stop_waiting, patience)
            items.put(chunk)


def _stop_waiting(patience: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # it is over: the first token came as the time ran out, or as the caller left
        patience.reschedule(None)


_parent: ContextVar[BaseRunManager | None] = ContextVar("moa_parent", default=None)
"""The run that the next call of a hook belongs to."""


def current_run() -> BaseRunManager:
    """Return the run that a hook belongs to when core gave it none."""
    return _parent.get() or BaseRunManager.get_noop_manager()


@contextmanager
def belonging_to(run: BaseRunManager | None) -> Iterator[None]:
    """Have the hooks that are called inside belong to `run`."""
    token = _parent.set(run)
    try:
        yield
    finally:
        _parent.reset(token)


_configurable: ContextVar[Mapping[str, Any] | None] = ContextVar("moa_configurable", default=None)
"""Of the config of the call."""


@contextmanager
def called_with(config: RunnableConfig | None) -> Iterator[None]:
    """Have the runs inside know the caller's `configurable`, which core keeps from a model's hooks."""
    token = _configurable.set((config or {}).get("configurable"))
    try:
        yield
    finally:
        _configurable.reset(token)


def foresee_run(
    config: RunnableConfig | None,
    own: Callbacks,
    manager: type[CallbackManager | AsyncCallbackManager],
    inner_handlers: HandlerTypes,
) -> tuple[RunnableConfig, BaseRunManager]:
    """Fix the id and the handlers of a run before core opens it.

    Args:
        config: The caller's.
        own: The model's own callbacks, which core adds by itself.
        manager: Of the run.
        inner_handlers: As in `GraphRun`.

    Returns:
        The config to call core with, and what its run will be.
    """
    config = ensure_config(config)
    callbacks = manager.configure(
        config.get("callbacks"), inheritable_tags=config.get("tags"), inheritable_metadata=config.get("metadata")
    )
    run_id = config.get("run_id") or uuid4()
    audience = Audience(manager.configure(callbacks, own).handlers if own else callbacks.handlers, inner_handlers)
    run = BaseRunManager(
        run_id=run_id,
        handlers=audience.handlers,
        inheritable_handlers=callbacks.inheritable_handlers,
        inheritable_tags=callbacks.inheritable_tags,
        inheritable_metadata=callbacks.inheritable_metadata,
    )
    audience.hide_usage(callbacks)
    return {**config, "callbacks": callbacks, "run_id": run_id}, run


def surrounding_run() -> BaseRunManager:
    """Return the run in which this is called, such as that of an agent's node or tool."""
    config = ensure_config()
    # As core opens a run there: under the run of LangSmith's `traceable`, where one is around.
    around = AsyncCallbackManager.configure(
        config.get("callbacks"), inheritable_tags=config.get("tags"), inheritable_metadata=config.get("metadata")
    )
    return BaseRunManager(
        run_id=around.parent_run_id or uuid4(),
        handlers=around.handlers,
        inheritable_handlers=around.inheritable_handlers,
        inheritable_tags=around.inheritable_tags,
        inheritable_metadata=around.inheritable_metadata,
    )


def _outside() -> Context:
    """Return a copy of the context in which no LangChain or LangGraph run is around.

    LangGraph merges the config around it into its own: the parent, the checkpointer and the streams of an enclosing
    graph (langgraph 1.2).
    """
    context = copy_context()
    context.run(var_child_runnable_config.set, None)
    return context
