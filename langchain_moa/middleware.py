"""`MoAMiddleware`: a panel of proposers beside an agent's own model.

With a `ChatMoA` as its model, an agent acts through the mixture's aggregator. With this middleware it acts through the
user's own model object, which gets the proposers' references at the end of its requests, or asks for them by a tool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from pydantic import Field, SecretStr
from typing_extensions import TypedDict

from langchain_moa._aggregation.outcome import reason
from langchain_moa._models.members import Participant
from langchain_moa._models.mixture import resolve_mixture
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.graph_run import GraphRun, surrounding_run
from langchain_moa._runtime.tracing import watching
from langchain_moa.graph import build_graph, to_layers
from langchain_moa.options import Gate, MoAOptions, ProposerLike

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        AgentState,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
    )
    from langchain.agents.middleware.types import OmitFromInput, PrivateStateAttr
    from langchain.tools import ToolRuntime
except ImportError as error:
    msg = 'MoAMiddleware needs langchain: pip install "langchain-moa[agents]"'
    raise ImportError(msg) from error

TOOL = "consult_panel"

_DESCRIPTION = (
    "Ask a panel of models for advice on a hard question: they answer independently of each other, and you get all of "
    "their answers. The panel sees nothing but the question, so state it with all that matters for the answer."
)
_NO_ADVICE = "The panel gave no advice. Go on without it."
_SPENT = "The panel has been asked as often as it may be for this message of the user. Go on without it."

_ACCOUNT = "moa_account"
"""What the proposers did, in the state of the step in which they were asked."""


_Question = Annotated[str, Field(pattern=r"\S", description="The question, with all that matters for its answer.")]


class Advice(TypedDict):
    """What the panel gave in a user turn."""

    turn: str
    """Tells the turn's user message from others."""

    references: list[str]
    """Empty when the panel failed, or the gate did not ask it."""


def _add_up(usage: Mapping[str, UsageMetadata], more: Mapping[str, UsageMetadata]) -> dict[str, UsageMetadata]:
    return {**usage, **{name: add_usage(usage.get(name), more[name]) for name in more}}


def _count_in_turn(uses: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {turn: uses.get(turn, 0) + number for turn, number in more.items()}


class PanelState(AgentState[Any]):
    """What the middleware keeps in the agent's state, and so in its checkpoints."""

    moa_references: NotRequired[Annotated[Advice, PrivateStateAttr]]
    """Of the latest user turn in which the panel was asked."""

    moa_uses: NotRequired[Annotated[dict[str, int], PrivateStateAttr, _count_in_turn]]
    """With the tool: how often it was used in the latest user turn."""

    moa_usage: NotRequired[Annotated[dict[str, UsageMetadata], OmitFromInput, _add_up]]
    """Tokens that the panel has used in the thread, by model name."""


class MoAMiddleware(AgentMiddleware[PanelState, Any, Any]):
    """A panel of proposers beside an agent's own model.

    The agent's model stays the user's own object, so that middleware of its provider works. With `when="user_turn"` the
    panel is asked once per message of the user, and its references stand at the end of each of the turn's requests,
    after the conversation; they are not kept among the messages. With `when="tool"` the model itself asks the panel.

    What each proposer did is in `response_metadata["moa"]["panel"]` of the message that followed: the model's first of
    the turn, or the tool's. The tokens of a thread's panels are in the state's `moa_usage`, by model name. A message's
    own `usage_metadata` stays the acting model's, by which other middleware tells how long the conversation is.

    List it after `AnthropicPromptCachingMiddleware`, so that the conversation before the references is cached.

    Example:
        ```python
        from langchain.agents import create_agent

        from langchain_moa.middleware import MoAMiddleware

        panel = MoAMiddleware(proposers=["Qwen/Qwen3.7-Max", "google/gemma-4-31B-it"])
        agent = create_agent("openai:gpt-5", tools=[], middleware=[panel])
        agent.invoke({"messages": "Which index suits a table that is only appended to?"})
        ```
    """

    state_schema = PanelState

    def __init__(
        self,
        *,
        when: Literal["user_turn", "tool"] | Gate = "user_turn",
        max_uses: int | None = None,
        model: str = "default",
        proposers: Sequence[ProposerLike] | None = None,
        rounds: int | None = None,
        layers: Sequence[Sequence[ProposerLike]] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = 120,
        max_retries: int | None = None,
        model_kwargs: dict[str, Any] | None = None,
        api_key: SecretStr | None = None,
        base_url: str | None = None,
        quorum: int | float | None = None,
        grace: float = 0,
        min_references: int = 1,
        on_failure: Literal["raise", "aggregate_alone"] = "aggregate_alone",
        prompt: str | Callable[[Sequence[str]], str] = "paper",
        shuffle: bool = False,
        shuffle_seed: int = 0,
        prices: Mapping[str, Any] | None = None,
        max_cost: float | None = None,
        max_total_tokens: int | None = None,
        include_references: bool = False,
    ) -> None:
        """Build the panel.

        `when` says when it is asked: `"user_turn"`, once per message of the user; a gate, once per message of the user
        for which it says so (see `langchain_moa.gates`); or `"tool"`, when the model calls `consult_panel(question)`,
        at most `max_uses` times per message of the user (default: no limit).

        The others are options of a mixture, see `MoAOptions`. `model` names the line-up whose proposers are taken when
        neither `proposers` nor `layers` is given. With `on_failure="aggregate_alone"` the agent goes on without a
        panel that failed, which is named in the metadata's `degraded`; `"raise"` raises `ProposersFailedError`.

        Raises:
            ValueError: The options contradict each other, or a key is missing.
        """
        given = {name: value for name, value in locals().items() if name in MoAOptions.model_fields}
        is_gate = callable(when) or isinstance(when, Runnable)
        if not is_gate and when not in ("user_turn", "tool"):
            msg = f"when is {when!r}; give 'user_turn', 'tool', or a gate (see langchain_moa.gates)."
            raise ValueError(msg)
        if max_uses is not None and (when != "tool" or not isinstance(max_uses, int) or max_uses < 1):
            msg = f"max_uses is {max_uses!r}; give at least 1, and only with when='tool'."
            raise ValueError(msg)
        super().__init__()
        self._is_tool = when == "tool"
        self._max_uses = max_uses
        # The agent's model writes: nothing that this one stands for is asked.
        options = MoAOptions(
            **given,
            aggregator=RunnablePassthrough(),
            reference_placement="tail",
            fan_out=when if is_gate else "always",
        )
        mixture = resolve_mixture(options)
        graph = build_graph(mixture, options, end="references")
        compiled = graph.compile(checkpointer=False, name="panel")
        self._graph = compiled.with_config(recursion_limit=len(graph.nodes) + 2)
        self._last = to_layers(mixture, options)[-1]
        self._writer = mixture.aggregators[0]
        if self._is_tool:
            self.tools = [
                StructuredTool.from_function(
                    self._consult, name=TOOL, description=_DESCRIPTION, coroutine=self._aconsult
                )
            ]

    @property
    def name(self) -> str:
        """Differs between a panel for each turn and one to be asked, so that an agent may have both."""
        return f"{type(self).__name__}[{TOOL}]" if self._is_tool else type(self).__name__

    def _run(self, messages: Sequence[BaseMessage], tools: Sequence[BaseTool | dict[str, Any]] = ()) -> GraphRun:
        """Return the run of the panel's graph for a conversation."""
        around = surrounding_run()
        return GraphRun(
            graph=self._graph,
            label="panel",
            messages=messages,
            parent=around,
            aggregator_kwargs={
                "tools": [each if isinstance(each, dict) else convert_to_openai_tool(each) for each in tools]
            },
            answer_form="text",
            parameters={},
            inner_handlers=watching(around.handlers),
        )

    # -- References at the end of requests ---------------------------------------------------------------------------

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Ask the panel if it is its turn, and the model with its references."""
        if self._is_tool:
            return _with_turn(request, handler(request))
        step = _Step(request)
        if not step.is_advised:
            step.keep(self._run(_conversation(request), request.tools).invoke())
        return step.told(handler(step.with_references(self._last)))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Ask the panel if it is its turn, and the model with its references."""
        if self._is_tool:
            return _with_turn(request, await handler(request))
        step = _Step(request)
        if not step.is_advised:
            step.keep(await self._run(_conversation(request), request.tools).ainvoke())
        return step.told(await handler(step.with_references(self._last)))

    # -- The tool ----------------------------------------------------------------------------------------------------

    def _consult(self, question: _Question, runtime: ToolRuntime[Any, Any]) -> Command[Any] | ToolMessage:
        if self._is_spent(runtime):
            return _tool_message(runtime, _SPENT, status="error")
        return self._advised(runtime, self._run([HumanMessage(question)]).invoke())

    async def _aconsult(self, question: _Question, runtime: ToolRuntime[Any, Any]) -> Command[Any] | ToolMessage:
        if self._is_spent(runtime):
            return _tool_message(runtime, _SPENT, status="error")
        return self._advised(runtime, await self._run([HumanMessage(question)]).ainvoke())

    def _is_spent(self, runtime: ToolRuntime[Any, Any]) -> bool:
        """Tell whether the turn's uses are spent, by its earlier steps or by calls before this one in the same step."""
        if self._max_uses is None:
            return False
        messages = runtime.state["messages"]
        since = list(takewhile(lambda message: not isinstance(message, AIMessage), reversed(messages)))
        answered = {message.tool_call_id for message in since if isinstance(message, ToolMessage)}
        step = messages[-len(since) - 1]
        asking = [call["id"] for call in step.tool_calls if call["name"] == TOOL and call["id"] not in answered]
        before = len(list(takewhile(lambda id_: id_ != runtime.tool_call_id, asking)))
        used: int = runtime.state.get("moa_uses", {}).get(_turn_of(runtime.state), 0)
        return used + before >= self._max_uses

    def _advised(self, runtime: ToolRuntime[Any, Any], advice: AIMessage) -> Command[Any]:
        """Return the tool's message, and what the state keeps."""
        account = advice.response_metadata["moa"]
        message = _tool_message(runtime, _NO_ADVICE, status="error")
        if references := _texts(advice):
            placed, _ = self._last.place([], references, reader=self._writer, tools=self.tools)
            message = _tool_message(runtime, placed[0].text)
        message.response_metadata = {"moa": {"panel": account}}
        uses = {_turn_of(runtime.state): 1}
        return Command(update={"messages": [message], "moa_uses": uses, "moa_usage": _by_model(account)})


class _Step:
    """A call of the agent's model.

    What the panel gives is also put into the request's state: middleware further out may try the call again, and all
    attempts have the same state object.
    """

    def __init__(self, request: ModelRequest[Any]) -> None:
        self._request = request
        self._state: dict[str, Any] = request.state  # type: ignore[assignment]  # a TypedDict
        advice: Advice | None = self._state.get("moa_references")
        self._turn = _turn(self._state["messages"], latest=advice["turn"] if advice else "")
        self.is_advised = advice is not None and advice["turn"] == self._turn

    def keep(self, advice: AIMessage) -> None:
        """Keep what the panel gave."""
        self._state["moa_references"] = Advice(turn=self._turn, references=_texts(advice))
        self._state[_ACCOUNT] = advice.response_metadata["moa"]

    def with_references(self, last: Layer) -> ModelRequest[Any]:
        """Return the request with the turn's references at its end."""
        references = self._state["moa_references"]["references"]
        if not references:
            return self._request
        reader = Participant.of(self._request.model)
        request = _with_mark_before_the_end(self._request, reader)
        conversation = _conversation(request)
        messages, is_trimmed = last.place(conversation, references, reader=reader, tools=request.tools)
        trimmed = reason("references_trimmed")
        if is_trimmed and (account := self._state.get(_ACCOUNT)) and trimmed not in account["degraded"]:
            account["degraded"].append(trimmed)
        placed: list[Any] = messages[len(conversation) - len(request.messages) :]
        return request.override(messages=placed)

    def told(self, response: ModelResponse[Any]) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Return the response; where the panel was asked for it, with its account and with what the state keeps."""
        if (account := self._state.get(_ACCOUNT)) is None:
            return response
        kept = {"moa_references": self._state["moa_references"], "moa_usage": _by_model(account)}
        result = [_with_account(each, account) if isinstance(each, AIMessage) else each for each in response.result]
        return ExtendedModelResponse(replace(response, result=result), Command(update=kept))


def _conversation(request: ModelRequest[Any]) -> list[BaseMessage]:
    """Return the conversation with the system message."""
    return [*([request.system_message] if request.system_message else []), *request.messages]


def _with_mark_before_the_end(request: ModelRequest[Any], reader: Participant) -> ModelRequest[Any]:
    """Have Anthropic's models cache the conversation without the references, which are elsewhere in the next request.

    The `cache_control` of a whole request marks its last block, and only what was marked is found in the cache.
    """
    settings = dict(request.model_settings)
    mark = settings.pop("cache_control", None)
    if mark is None or "anthropic" not in (reader.provider or "") or not request.messages:
        return request
    *before, last = map(_in_blocks, request.messages)  # all, as a message is not marked in the next request
    if not last.content or isinstance(last.content, str):
        return request
    *blocks, end = last.content
    block = {"type": "text", "text": end} if isinstance(end, str) else end
    marked = last.model_copy(update={"content": [*blocks, {**block, "cache_control": mark}]})
    return request.override(messages=[*before, marked], model_settings=settings)


def _in_blocks(message: AnyMessage) -> AnyMessage:
    if isinstance(message, HumanMessage | ToolMessage) and message.content and isinstance(message.content, str):
        return message.model_copy(update={"content": [{"type": "text", "text": message.content}]})
    return message


def _with_account(message: AIMessage, account: Mapping[str, Any]) -> AIMessage:
    own = message.response_metadata
    moa = {**own.get("moa", {}), "panel": account}  # beside what a mixture that acts has there
    return message.model_copy(update={"response_metadata": {**own, "moa": moa}})


def _tool_message(runtime: ToolRuntime[Any, Any], text: str, **fields: Any) -> ToolMessage:
    return ToolMessage(text, name=TOOL, tool_call_id=runtime.tool_call_id, **fields)


def _with_turn(
    request: ModelRequest[Any], response: ModelResponse[Any]
) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
    """Return the response; the first of a turn with the turn, while its message is there, to count uses in."""
    state: Any = request.state
    if (turn := _turn_of(state)) in state.get("moa_uses", {}):
        return response
    return ExtendedModelResponse(response, Command(update={"moa_uses": {turn: 0}}))


def _turn_of(state: Mapping[str, Any]) -> str:
    return _turn(state["messages"], latest=next(iter(state.get("moa_uses", {})), ""))


def _turn(messages: Sequence[AnyMessage], *, latest: str) -> str:
    """Return what tells the user's last message from others; `latest` when it is gone, summarized within its turn.

    Messages that middleware has put in the user's place, such as a summary, have their source in `lc_source`.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs:
            said = repr((message.id, message.content))
            return hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()
    return latest


def _texts(advice: AIMessage) -> list[str]:
    """Return the references in a message of `CollectReferences`."""
    return [block["text"] for block in advice.content if isinstance(block, dict)]


def _by_model(account: Mapping[str, Any]) -> dict[str, UsageMetadata]:
    """Return the tokens that a panel has used, by model name."""
    usage: dict[str, UsageMetadata] = dict(account.get("gate", {}).get("usage", {}))
    for call in (call for calls in account["layers"] for call in calls):
        if call["usage"]:
            usage = _add_up(usage, {call["model"]: call["usage"]})
    return usage
