"""`ChatMoA`: a mixture of agents that a caller can't tell from one chat model, except in the trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from functools import reduce
from importlib.metadata import version
from operator import or_
from typing import Any, Literal, Self, TypeVar, cast

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
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableParallel
from langchain_core.tools import BaseTool
from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from langchain_moa._aggregation.aggregation import Mode
from langchain_moa._messages.prompts import PromptName
from langchain_moa._models.factory import unbound
from langchain_moa._models.mixture import Mixture, ProposerLike, resolve_mixture
from langchain_moa._nodes.layer import ReferencePlacement
from langchain_moa._runtime.graph_run import GraphRun, belonging_to, current_run, foresee_run
from langchain_moa._runtime.results import to_chunk, to_result
from langchain_moa._runtime.tracing import HandlerTypes
from langchain_moa._runtime.turn_references import FanOut
from langchain_moa.answer_keys import AnswerKey
from langchain_moa.graph import build_graph
from langchain_moa.lineups import RESERVE
from langchain_moa.options import Options
from langchain_moa.state import MoAState

_Model = TypeVar("_Model", bound="ChatMoA")

_VERSION = version("langchain-moa")


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

    fallback_aggregators: list[str | Runnable[Any, Any]] = Field(default_factory=list)
    """Tried in order when the aggregator fails before its first token."""

    temperature: float | None = Field(default=None, ge=0)
    """Of models given as strings; a model object keeps its own. Default: the line-up's, or 0.7."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Of models given as strings; a model object keeps its own. Default: the line-up's, or 2048."""

    timeout: float = Field(default=120, gt=0)
    """Seconds that one proposer may take, tries again included; also the HTTP timeout of models given as strings."""

    quorum: int | float | None = Field(default=None, gt=0)
    """References that are enough: a count, or a fraction of the layer (0.5). Default: all."""

    grace: float = Field(default=0, ge=0)
    """Seconds that stragglers still get once the quorum is there; then they are cancelled."""

    deadline: float | None = Field(default=None, gt=0)
    """Seconds for the whole call, to the aggregator's last token. Each layer may take an even share of what is left, so
    that the aggregator always gets one. Default: none."""

    min_references: int = Field(default=1, ge=0)
    """Fewer references than this after a layer are a failure."""

    on_failure: Literal["raise", "aggregate_alone"] = "raise"
    """After a failure: raise `ProposersFailedError`, or let the aggregator answer without any reference."""

    aggregation: Mode = "synthesize"
    """How references become the answer: the aggregator writes it from them; as the judge it `"select"`s the best one;
    proposals `"vote"`; or it `"analyze"`s them first. With tools or a schema it always synthesizes."""

    debias: bool = False
    """Select: ask the judge twice, with the candidates in both orders, and synthesize when the verdicts differ."""

    answer_key: AnswerKey | str | None = None
    r"""Vote: from a proposal's text to what it answers (see `langchain_moa.answer_keys`), or a regular expression whose
    first group, or all of it, is the answer. Default: what is in the last `\boxed{}`, else an option letter, else a
    number."""

    window: int | None = Field(default=None, ge=2)
    """Most references that the aggregator sees at once; with more it works in passes (Self-MoA-Seq, arXiv 2502.00674).
    Default: the line-up's, or all."""

    reserve: int = Field(default=RESERVE, ge=1)
    """Places in the window that the synthesis so far takes, so that it counts for more."""

    prompt: PromptName = "paper"
    """How references are shown: as the paper has it, or `"fenced"`, each between marks and named untrusted."""

    shuffle: bool = False
    """Show references in a random order; it is in the answer's `response_metadata["moa"]["order"]`."""

    shuffle_seed: int = 0
    """The same seed gives the same order for the same question."""

    reference_placement: ReferencePlacement = "auto"
    """Where references go: `"system"`, in front, as the paper has it; `"tail"`, after the conversation, so that an
    agent's steps share a prefix that prompt caches know; `"auto"`: tail when tools are bound, else system."""

    fan_out: FanOut = "auto"
    """When the proposers are asked: `"always"`; `"user_turn"`, once per message of the user; a callable or a Runnable
    from the messages to a bool (see `langchain_moa.gates`); `"auto"`: user_turn when tools are bound, else always."""

    include_references: bool = False
    """Put the references' texts into the answer's `response_metadata["moa"]`."""

    inner_handlers: HandlerTypes = ()
    """Callback handler classes that see every call inside, such as Langfuse's `CallbackHandler`. LangChain's tracers,
    the usage handler and whatever gets into every callback manager by itself (`get_openai_callback`, MLflow's autolog,
    OpenInference, OpenLLMetry) do without being named."""

    stop: list[str] | None = None
    """Where the aggregator stops writing, unless a call says otherwise."""

    streaming: bool = False
    """Let the aggregator stream also when the answer is asked for as a whole."""

    _mixture: Mixture = PrivateAttr()
    _others: dict[str, Self] = PrivateAttr(default_factory=dict)
    _graph: CompiledStateGraph[MoAState, None, MessagesState, MessagesState] = PrivateAttr()

    @model_validator(mode="after")
    def _compile(self) -> Self:
        if "model" not in self.model_fields_set and self.aggregator is not None and (self.proposers or self.layers):
            self.model = "moa"
        self._mixture = resolve_mixture(
            model=self.model,
            proposers=self.proposers,
            rounds=self.rounds,
            layers=self.layers,
            aggregator=self.aggregator,
            fallback_aggregators=self.fallback_aggregators,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
            cache=self.cache is not False,
        )
        options = Options(**{option.name: getattr(self, option.name) for option in fields(Options)})
        graph = build_graph(self._mixture, options)
        # Without `checkpointer=False` a graph around this model would keep every proposal in its database.
        compiled = graph.compile(checkpointer=False, name="MoA")
        self._graph = compiled.with_config(recursion_limit=len(graph.nodes) + 2)
        if self.profile is None:
            self.profile = self._mixture.profile()
        self._add_version("langchain-moa", _VERSION)
        return self

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
    def nesting(self) -> int:
        """How many mixtures there are inside of one another, this one included."""
        return self._mixture.nesting

    @property
    def _llm_type(self) -> str:
        return "moa"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What two models have in common when they share an entry of a cache; traces show it too."""
        rules = {
            "limits": [self.timeout, self.quorum, self.grace, self.deadline, self.min_references],
            "on_failure": self.on_failure,
            "reference_placement": self.reference_placement,
            "include_references": self.include_references,
            # Core has a `stop` of its own here, which is the call's.
            "default_stop": self.stop,
            "aggregation": [self.aggregation, self.debias, self.window, self.reserve, self.prompt],
            "shuffle": self.shuffle and self.shuffle_seed,
            "answer_key": repr(self.answer_key),
            "fan_out": self.fan_out if isinstance(self.fan_out, str) else repr(self.fan_out),
        }
        return {"model": self.model, **self._mixture.identity, **rules}

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
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self._bind_like(self.aggregator_model.bind_tools(tools, **kwargs))

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the aggregator answer in a schema. See `BaseChatModel.with_structured_output`.

        Args:
            schema: A pydantic class, a `TypedDict` or a JSON schema.
            include_raw: Return the message too.
            **kwargs: `method`, `strict` and what else the aggregator's own `with_structured_output` takes.
        """
        # A sequence: the aggregator with arguments bound, or with `include_raw` a map to it, then parsers.
        structured: Any = self.aggregator_model.with_structured_output(schema, include_raw=include_raw, **kwargs)
        asked, *parsers = structured.steps
        own: Runnable[Any, Any]
        if isinstance(asked, RunnableParallel):
            own = RunnableParallel(raw=self._bind_like(asked.steps__["raw"]))
        else:
            own = self._bind_like(asked)
        return reduce(or_, parsers, own)

    def _bind_like(self, bound: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(**bound.kwargs)

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
        return to_result(run.invoke(), run)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._run(messages, stop, run_manager, kwargs)
        return to_result(await run.ainvoke(), run)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        run = self._run(messages, stop, run_manager, kwargs)
        for item in run.stream():
            yield to_chunk(item, run)

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
                yield to_chunk(item, run)

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

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.stream`."""
        config, run = foresee_run(config, self.callbacks, CallbackManager, self.inner_handlers)
        chunks = super().stream(input, config, **kwargs)
        with belonging_to(run):
            first = next(chunks)
        yield first
        yield from chunks

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the aggregator's answer. See `BaseChatModel.astream`."""
        config, run = foresee_run(config, self.callbacks, AsyncCallbackManager, self.inner_handlers)
        async with aclosing(cast("AsyncGenerator[AIMessageChunk]", super().astream(input, config, **kwargs))) as chunks:
            with belonging_to(run):
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
        mixture = self._named(kwargs.pop("model", None))
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
            parameters=parameters,
            inner_handlers=self.inner_handlers,
            deadline=self.deadline,
        )

    def _named(self, model: str | None) -> Self:
        """Return this model with another line-up, which a call has named."""
        if model is None or model == self.model:
            return self
        if model not in self._others:
            self._others[model] = self.model_copy(update={"model": model})
        return self._others[model]


def _build(cls: type[_Model], options: dict[str, Any]) -> _Model:
    return cls(**options)
