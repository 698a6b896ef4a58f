"""`ChatMoA`: a mixture of agents that a caller can't tell from one chat model, except in the trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, model_validator

from langchain_moa._messages.answers import to_chunk, to_result, token_usage
from langchain_moa._models.description import Description
from langchain_moa._models.factory import changed_inside, model_name, unbound
from langchain_moa._models.mixture import Mixture, resolve_mixture
from langchain_moa._runtime.call_arguments import ANSWER_FORM, check_call, check_question, take_answer_form
from langchain_moa._runtime.call_context import AnswerForm
from langchain_moa._runtime.graph_run import GraphRun, belonging_to, called_with, current_run, foresee_run
from langchain_moa._runtime.tracing import HandlerTypes
from langchain_moa.graph import build_graph
from langchain_moa.options import MoAOptions, documented
from langchain_moa.state import MoAState

_Model = TypeVar("_Model", bound="ChatMoA")

_VERSION = version("langchain-moa")

# Options that no model inside tells of.
_OF_MODELS = {
    "model",
    "proposers",
    "rounds",
    "layers",
    "aggregator",
    "fallback_aggregators",
    "judge",
    "temperature",
    "max_tokens",
    "max_retries",
    "model_kwargs",
    "api_key",
    "base_url",
}
_IDENTIFYING = set(MoAOptions.model_fields) - _OF_MODELS - {"window", "answer_key", "fan_out", "prompt", "prices"}

# Options that are not also arguments of a provider's request, and so of a call.
_OF_THE_MIXTURE = (set(MoAOptions.model_fields) | {"inner_handlers", "streaming"}) - {
    "model",
    "temperature",
    "max_tokens",
    "timeout",
}

# Other line-ups that calls have named and that are kept ready: each has a graph, and a user may send any name.
_KEPT_LINEUPS = 8


@documented
class ChatMoA(MoAOptions, BaseChatModel):
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

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    inner_handlers: HandlerTypes = ()
    """Callback handler classes that see every call inside, such as Langfuse's `CallbackHandler`. LangChain's tracers,
    the usage handler and whatever gets into every callback manager by itself (`get_openai_callback`, MLflow's autolog,
    OpenInference, OpenLLMetry) do without being named."""

    stop: list[str] | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    """Stop sequences of the aggregator, unless a call has its own."""

    streaming: bool = False
    """Whether the aggregator streams its answer even when the whole answer is asked for."""

    _mixture: Mixture = PrivateAttr()
    _with_lineup: Callable[[str], Self] = PrivateAttr()
    # A function does not tell what it does: two of one name must not share a cache's entry.
    _prompt_key: str = PrivateAttr(default_factory=lambda: uuid4().hex)
    _graph: CompiledStateGraph[MoAState, None, MessagesState, MessagesState] = PrivateAttr()

    if not TYPE_CHECKING:  # checkers make the signature from the fields

        def __init__(self, *args: Any, **options: Any) -> None:
            if args:
                msg = f"ChatMoA takes keyword arguments: write ChatMoA(model={args[0]!r})."
                raise TypeError(msg if isinstance(args[0], str) else msg.replace(repr(args[0]), "..."))
            super().__init__(**options)

    @model_validator(mode="after")
    def _compile(self) -> Self:
        if "model" not in self.model_fields_set and self.is_explicit:
            self.model = "moa"
        self._with_lineup = lru_cache(_KEPT_LINEUPS)(lambda name: self.model_copy(update={"model": name}))
        mixture = resolve_mixture(self, cache=self.cache is not False)
        if self.profile is None:
            self.profile = mixture.profile()
        self._add_version("langchain-moa", _VERSION)
        self._take(mixture)
        return self

    def _take(self, mixture: Mixture) -> None:
        """Build the graph of the models that take part."""
        self._mixture = mixture
        graph = build_graph(mixture, self)
        # Without `checkpointer=False` a graph around this model would keep every proposal in its database.
        compiled = graph.compile(checkpointer=False, name="MoA")
        self._graph = compiled.with_config(recursion_limit=2 * len(graph.nodes) + 2)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign an option: it is checked as at construction, and takes effect at the next call."""
        if name not in type(self).model_fields or not self._is_built:
            super().__setattr__(name, value)
            return
        other = self.model_copy(update={name: value})
        for attribute in ("__dict__", "__pydantic_fields_set__", "__pydantic_private__"):
            object.__setattr__(self, attribute, getattr(other, attribute))

    @property
    def _is_built(self) -> bool:
        return "_graph" in (self.__pydantic_private__ or {})

    @property
    def graph(self) -> CompiledStateGraph[MoAState, None, MessagesState, MessagesState]:
        """The compiled graph inside: to draw it, to watch it, or to use it as a node of another graph."""
        return self._graph

    @property
    def aggregator_model(self) -> BaseChatModel:
        """The chat model that writes the answer, as built from `aggregator` or the line-up.

        Raises:
            ValueError: It is no chat model.
        """
        aggregator = unbound(self._mixture.aggregator)
        if not isinstance(aggregator, BaseChatModel):
            msg = f"The aggregator must be a chat model to take tools or a schema, not {type(aggregator).__name__}."
            raise ValueError(msg)
        return aggregator

    @property
    def model_name(self) -> str:
        """The name under which answers and traces report the mixture: `model`."""
        return self.model

    def describe(self) -> str:
        """Return who takes part, to be printed: the proposers of each layer, the aggregator, the calls per answer."""
        return str(Description.of(self))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return Description.of(self).brief()

    def _repr_html_(self) -> str:
        return Description.of(self).html()

    @property
    def nesting(self) -> int:
        """How many mixtures there are inside of one another, this one included."""
        return self._mixture.nesting

    @property
    def _llm_type(self) -> str:
        return "moa"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What two models have in common when they share an entry of a cache; traces show it too."""
        options = self.model_dump(include=_IDENTIFYING)
        options["answer_key"] = repr(self.answer_key)
        options["fan_out"] = self.fan_out if isinstance(self.fan_out, str) else repr(self.fan_out)
        options["prompt"] = self.prompt if isinstance(self.prompt, str) else self._prompt_key
        # Core has a `stop` of its own here, which is the call's.
        return {"model": self.model, **self._mixture.identity, **options, "default_stop": self.stop}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the key of a cache's entry: what asks differently has another one, and a key is in none."""
        # Core would take what `dumps` writes, in which a function is only a name (langchain-core 1.8).
        return str(sorted({**self._get_invocation_params(stop=stop, **kwargs), **kwargs}.items()))

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has: the models inside need not agree."""
        return count_tokens_approximately([text])

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return about how many tokens a conversation has."""
        return count_tokens_approximately(messages, tools=list(tools) if tools else None)

    # -- Tools and structured output are the aggregator's ------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the aggregator tools, in the form in which it takes them. Proposers learn what they do, as text.

        Args:
            tools: As for any chat model.
            tool_choice: As the aggregator's own `bind_tools` takes it.
            **kwargs: `parallel_tool_calls` and what else the aggregator's own `bind_tools` takes.

        Raises:
            NotImplementedError: The aggregator takes no tools.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        try:
            bound = self.aggregator_model.bind_tools(tools, **kwargs)
        except NotImplementedError as error:
            name = model_name(self.aggregator_model)
            raise NotImplementedError(f"The aggregator {name!r} takes no tools: give another aggregator.") from error
        form: AnswerForm = "tools" if tools else "schema" if kwargs.get("response_format") else "text"
        return self._bind_like(bound, form=form)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the aggregator answer in a schema. See `BaseChatModel.with_structured_output`.

        Args:
            schema: A pydantic class, a `TypedDict` or a JSON schema.
            include_raw: Return the message too.
            **kwargs: `method`, `strict` and what else the aggregator's own `with_structured_output` takes.
        """
        structured = self.aggregator_model.with_structured_output(schema, include_raw=include_raw, **kwargs)
        return changed_inside(structured, partial(self._bind_like, form="schema"))

    def _bind_like(self, bound: Any, *, form: AnswerForm) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with the arguments that the aggregator has bound, in whatever form its provider takes."""
        return self.bind(**bound.kwargs, **{ANSWER_FORM: form})

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

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that LangChain's `dumps` and `load` can write and read it, as far as they can the models inside."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """What `dumps` leaves out, and the environment variable that `load` takes it from."""
        return {"api_key": "TOGETHER_API_KEY"}

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("profile") == self._mixture.profile():
            del given["profile"]
        return given

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._run(messages, stop, run_manager, kwargs)
        return to_result(run.invoke(), run.label)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._run(messages, stop, run_manager, kwargs)
        return to_result(await run.ainvoke(), run.label)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        run = self._run(messages, stop, run_manager, kwargs)
        for item in run.stream():
            yield to_chunk(item, run.label)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = self._run(messages, stop, run_manager, kwargs)
        async with aclosing(run.astream()) as items:
            async for item in items:
                yield to_chunk(item, run.label)

    def generate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer several conversations. See `BaseChatModel.generate`."""
        return self._with_llm_output(super().generate(*args, **kwargs))

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer several conversations. See `BaseChatModel.agenerate`."""
        return self._with_llm_output(await super().agenerate(*args, **kwargs))

    def _with_llm_output(self, result: LLMResult) -> LLMResult:
        """Add the name and the usage, when all handlers have heard of the calls inside: they would count them twice."""
        result.llm_output = {"token_usage": token_usage(result), "model_name": self.model}
        return result

    # -- The seam ----------------------------------------------------------------------------------------------------
    # Core calls `_stream` without a run manager (langchain PR 19684): the runs inside would have no parent. So each of
    # the four ways in tells `_run` beforehand which run it belongs to.

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with belonging_to(run_manager):
            return super()._generate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with belonging_to(run_manager):
            return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Ask for the whole answer. See `BaseChatModel.invoke`."""
        with called_with(config):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Ask for the whole answer. See `BaseChatModel.ainvoke`."""
        with called_with(config):
            return await super().ainvoke(input, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.stream`."""
        config, run = foresee_run(config, self.callbacks, CallbackManager, self.inner_handlers)
        chunks = super().stream(input, config, **kwargs)
        with called_with(config), belonging_to(run):
            first = next(chunks)
        yield first
        yield from chunks

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.astream`."""
        config, run = foresee_run(config, self.callbacks, AsyncCallbackManager, self.inner_handlers)
        async with aclosing(cast("AsyncGenerator[AIMessageChunk]", super().astream(input, config, **kwargs))) as chunks:
            with called_with(config), belonging_to(run):
                first = await anext(chunks)
            yield first
            async for chunk in chunks:
                yield chunk

    def _run(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
    ) -> GraphRun:
        """Return the run of the graph for one call; its arguments are the aggregator's, but for a line-up's name."""
        if not messages:
            msg = "The conversation is empty: give at least one message."
            raise ValueError(msg)
        check_question(messages[-1])
        check_call(kwargs, of_mixture=_OF_THE_MIXTURE)
        mixture = self._named(kwargs.pop("model", None))
        form = take_answer_form(kwargs)
        parameters = {
            **self._get_ls_params_with_defaults(stop=stop, **kwargs),
            **self._get_invocation_params(stop=stop, **kwargs),
        }
        if (stop := self.stop if stop is None else stop) is not None:
            kwargs["stop"] = stop
        return GraphRun(
            graph=mixture.graph,
            label=mixture.model,
            messages=messages,
            parent=run_manager or current_run(),
            aggregator_kwargs=kwargs,
            answer_form=form,
            parameters=parameters,
            inner_handlers=self.inner_handlers,
            deadline=self.deadline,
        )

    def _named(self, model: str | None) -> Self:
        """Return this model with another line-up, which a call has named."""
        if model is None or model == self.model:
            return self
        if self.is_explicit:
            msg = (
                f"The call names the line-up {model!r}, but this ChatMoA has its own proposers and aggregator. "
                f"Leave model out of the call, or ask ChatMoA(model={model!r})."
            )
            raise ValueError(msg)
        return self._with_lineup(model)


def _build(cls: type[_Model], options: dict[str, Any]) -> _Model:
    return cls(**options)
