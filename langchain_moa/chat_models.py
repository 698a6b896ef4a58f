"""`ChatMoA`: a mixture of agents that a caller can't tell from one chat model, except in the trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Literal, Self, TypeVar, cast
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import LC_ID_PREFIX, AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from langchain_moa.graph import create_moa_graph
from langchain_moa.mixture import ProposerLike
from langchain_moa.run import GraphRun
from langchain_moa.state import MoAState
from langchain_moa.usage import total_usage

_Message = TypeVar("_Message", bound=BaseMessage)
_Generation = TypeVar("_Generation", bound=Generation)
_Model = TypeVar("_Model", bound="ChatMoA")

# Hands a call's run to `_stream`, which core calls without a run manager.
_PARENT = "moa_parent"


class ChatMoA(BaseChatModel):
    """Mixture of agents as one chat model: proposers answer side by side, an aggregator writes from their answers.

    Inside is a LangGraph graph, `graph`. To the caller it is one chat model; a tracer sees every call.

    Example:
        ```python
        from langchain_moa import ChatMoA

        model = ChatMoA(model="together-moa-lite")
        model.invoke("What is a monad?").text
        ```

    Raises:
        ValueError: At construction, when the options contradict each other or a key is missing.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: str = "default"
    """A line-up's name. With explicit proposers and aggregator only a label, then `"moa"` unless given."""

    proposers: list[ProposerLike] | None = None
    """Who answers in each layer: model strings, chat models, `Proposer`s or other Runnables. Default: the line-up's."""

    rounds: int | None = Field(default=None, ge=1)
    """How often the proposers answer, from round 2 on with references. Default: the line-up's, or 1."""

    layers: list[list[ProposerLike]] | None = None
    """Proposer layers, first to last, instead of `proposers` and `rounds`. The paper counts the aggregator as one."""

    aggregator: str | Runnable[Any, Any] | None = None
    """The model that writes the answer and streams. Default: the line-up's."""

    temperature: float | None = Field(default=None, ge=0)
    """Of models given as strings; a model object keeps its own. Default: the line-up's, or 0.7."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Of models given as strings; a model object keeps its own. Default: the line-up's, or 2048."""

    timeout: float = Field(default=120, gt=0)
    """Seconds that one proposer may take, tries again included; also the HTTP timeout of models given as strings."""

    min_references: int = Field(default=1, ge=0)
    """Fewer references than this after a layer are a failure."""

    on_failure: Literal["raise", "aggregate_alone"] = "raise"
    """After a failure: raise `ProposersFailedError`, or let the aggregator answer without any reference."""

    include_references: bool = False
    """Put the references' texts into the answer's `response_metadata["moa"]`."""

    _graph: CompiledStateGraph[MoAState, None, MessagesState, MessagesState] = PrivateAttr()

    @model_validator(mode="after")
    def _compile(self) -> Self:
        if "model" not in self.model_fields_set and self.aggregator is not None and (self.proposers or self.layers):
            self.model = "moa"
        graph = create_moa_graph(
            model=self.model,
            proposers=self.proposers,
            rounds=self.rounds,
            layers=self.layers,
            aggregator=self.aggregator,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
            min_references=self.min_references,
            on_failure=self.on_failure,
            include_references=self.include_references,
        )
        # Without `checkpointer=False` a graph around this model would keep every proposal in its database.
        compiled = graph.compile(checkpointer=False, name="MoA")
        self._graph = compiled.with_config(recursion_limit=len(graph.nodes) + 2)
        return self

    @property
    def graph(self) -> CompiledStateGraph[MoAState, None, MessagesState, MessagesState]:
        """The compiled graph inside: to draw it, to watch it, or to use it as a node of another graph."""
        return self._graph

    @property
    def _llm_type(self) -> str:
        return "moa"

    # -- Copies are built anew from the fields: a graph can be neither pickled nor changed ---------------------------

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other options, checked as at construction. Model objects are shared, also when `deep`."""
        return _build(type(self), {**self._given(), **(update or {})})

    def __copy__(self) -> Self:
        return self.model_copy()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self._given())

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if super()._should_stream(async_api=False, run_manager=run_manager, **kwargs):
            chunks = []
            for chunk in self._stream(messages, stop, run_manager, **kwargs):
                if run_manager:
                    _identify(chunk, run_manager)
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                chunks.append(chunk)
            return generate_from_stream(iter(chunks))
        return self._to_result(self._run(messages, stop, run_manager, kwargs).invoke())

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if super()._should_stream(async_api=True, run_manager=run_manager, **kwargs):
            chunks = []
            async for chunk in self._astream(messages, stop, run_manager, **kwargs):
                if run_manager:
                    _identify(chunk, run_manager)
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                chunks.append(chunk)
            return generate_from_stream(iter(chunks))
        return self._to_result(await self._run(messages, stop, run_manager, kwargs).ainvoke())

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for item in self._run(messages, stop, run_manager, kwargs).stream():
            yield self._to_chunk(item)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._run(messages, stop, run_manager, kwargs).astream()) as items:
            async for item in items:
                yield self._to_chunk(item)

    def _should_stream(self, *, async_api: bool, run_manager: BaseRunManager | None = None, **kwargs: Any) -> bool:
        # Core streams without handing on the run manager (langchain PR 19684), and the runs inside would have no
        # parent. With one in hand, answer no: core then calls `_generate`, which streams by itself.
        return run_manager is None and super()._should_stream(async_api=async_api, **kwargs)

    # -- The seam: one run for the caller, its usage counted once ----------------------------------------------------

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.stream`."""
        config, parent = _own_run(config, CallbackManager)
        kwargs[_PARENT] = parent
        for chunk in super().stream(input, config, **kwargs):
            yield _with_usage(chunk)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.astream`."""
        config, parent = _own_run(config, AsyncCallbackManager)
        kwargs[_PARENT] = parent
        stream = cast("AsyncGenerator[AIMessageChunk]", super().astream(input, config, **kwargs))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                yield _with_usage(chunk)

    def generate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer each conversation. See `BaseChatModel.generate`, which `invoke` and `batch` go through."""
        kwargs.pop(_PARENT, None)  # from `stream`, when streaming is switched off
        return _result_with_usage(super().generate(*args, **kwargs))

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer each conversation. See `BaseChatModel.agenerate`, which `ainvoke` and `abatch` go through."""
        kwargs.pop(_PARENT, None)  # from `astream`, when streaming is switched off
        return _result_with_usage(await super().agenerate(*args, **kwargs))

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(_PARENT, None)
        return super()._get_invocation_params(stop, **kwargs)

    def _run(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
    ) -> GraphRun:
        """Return the run of the graph for one call; all call-time arguments are the aggregator's."""
        parent = kwargs.pop(_PARENT, None)
        if stop is not None:
            kwargs["stop"] = stop
        return GraphRun(
            graph=self._graph,
            messages=messages,
            parent=run_manager or parent or BaseRunManager.get_noop_manager(),
            aggregator_kwargs=kwargs,
        )

    def _to_result(self, answer: AIMessage) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._as_own(answer))])

    def _to_chunk(self, item: AIMessageChunk | AIMessage) -> ChatGenerationChunk:
        """Turn a chunk of the aggregator, or at the end the whole answer, into a chunk of this model."""
        if isinstance(item, AIMessageChunk):
            # Names and the end of the message are told once, in the last chunk: merging chunks adds strings up.
            metadata = {key: value for key, value in item.response_metadata.items() if key not in ("model_name", "moa")}
            update = {"id": None, "chunk_position": None, "usage_metadata": None, "response_metadata": metadata}
            return ChatGenerationChunk(message=item.model_copy(update=update))
        metadata = {"model_name": self.model, "moa": item.response_metadata["moa"]}
        return ChatGenerationChunk(
            message=AIMessageChunk(content="", response_metadata=metadata, chunk_position="last")
        )

    def _as_own(self, answer: AIMessage) -> AIMessage:
        """Return the aggregator's answer as this model's, without usage: `_with_usage` adds it after the run."""
        metadata = {**answer.response_metadata, "model_name": self.model}
        return answer.model_copy(update={"id": None, "usage_metadata": None, "response_metadata": metadata})


def _build(cls: type[_Model], options: dict[str, Any]) -> _Model:
    return cls(**options)


def _own_run(
    config: RunnableConfig | None, manager: type[CallbackManager | AsyncCallbackManager]
) -> tuple[RunnableConfig, BaseRunManager]:
    """Fix the id and the handlers of a run before core opens it.

    Returns:
        The config to call core with, and the run as `_stream` needs it.
    """
    config = ensure_config(config)
    callbacks = manager.configure(
        config.get("callbacks"), inheritable_tags=config.get("tags"), inheritable_metadata=config.get("metadata")
    )
    run_id = config.get("run_id") or uuid4()
    run = BaseRunManager(
        run_id=run_id,
        handlers=callbacks.handlers,
        inheritable_handlers=callbacks.inheritable_handlers,
        inheritable_tags=callbacks.inheritable_tags,
        inheritable_metadata=callbacks.inheritable_metadata,
    )
    return {**config, "callbacks": callbacks, "run_id": run_id}, run


def _identify(chunk: ChatGenerationChunk, run_manager: BaseRunManager) -> None:
    if chunk.message.id is None:
        chunk.message.id = f"{LC_ID_PREFIX}-{run_manager.run_id}"


def _with_usage(message: _Message) -> _Message:
    """Return the message with the sum over all calls, when it is the one that carries their account.

    Not before its run has ended: tracers and usage handlers count the runs inside, and would count the sum again.
    """
    moa = message.response_metadata.get("moa")
    if moa is None:
        return message
    return message.model_copy(update={"usage_metadata": total_usage(moa)})


def _result_with_usage(result: LLMResult) -> LLMResult:
    # New generations: handlers may have kept the ones that they were given.
    result.generations = [[_generation_with_usage(item) for item in prompt] for prompt in result.generations]
    return result


def _generation_with_usage(generation: _Generation) -> _Generation:
    if not isinstance(generation, ChatGeneration):
        return generation
    return generation.model_copy(update={"message": _with_usage(generation.message)})
