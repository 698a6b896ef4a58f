"""The two kinds of node: one asks a proposer, the other has the aggregator write the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.events import Event, aemit, child_config, current_call, emit
from langchain_moa.exceptions import MoAError, ProposersFailedError
from langchain_moa.models import model_name
from langchain_moa.prompts import with_references
from langchain_moa.proposers import Member
from langchain_moa.state import Failure, MoAState, ProposerCall, Reference, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as the nodes that come after it see it."""

    number: int
    """From 1."""

    nodes: tuple[str, ...]
    """In the proposers' order."""

    min_references: int
    on_failure: Literal["raise", "aggregate_alone"]

    def references(self, state: MoAState) -> list[str]:
        """Return the texts that the layer gave; none when there are too few and the aggregator may answer alone.

        Raises:
            ProposersFailedError: There are too few.
        """
        references = state.get("references", [])
        if len(references) >= self.min_references:
            return [reference["content"] for reference in references]
        if self.on_failure == "aggregate_alone":
            return []
        errors = {failure["proposer"]: _as_exception(failure["error"]) for failure in state.get("failures", [])}
        causes = "; ".join(f"{proposer}: {_describe(error)}" for proposer, error in errors.items())
        msg = f"Layer {self.number} gave {len(references)} references, and needs {self.min_references}. {causes}"
        raise ProposersFailedError(msg, layer=self.number, errors=errors) from next(iter(errors.values()), None)

    def ended(self, state: MoAState) -> Event:
        """Return the event that tells of the layer's end."""
        data = {"layer": self.number, "done": len(state.get("references", [])), "total": len(self.nodes)}
        return "moa_layer_end", data


class AskProposer(Runnable[MoAState, dict[str, Any]]):
    """A node: one proposer's reference, or why there is none."""

    def __init__(self, member: Member, *, layer: Layer, node: str, before: Layer | None, keep_text: bool) -> None:
        """Keep who is asked, and where in the graph.

        Args:
            member: Who is asked.
            layer: Where it stands.
            node: The node's name.
            before: The layer whose references it sees; `None` in the first.
            keep_text: Whether the answer's metadata shows the text.
        """
        self._member = member
        self._layer = layer
        self._node = node
        self._before = before
        self._keep_text = keep_text

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        question = self._question(input, config or {})
        emit(question.opening, question.config)
        try:
            reply = self._member.model.invoke(question.messages, question.child)
        except Exception as error:  # one proposer's failure is data: the others go on
            reply = error
        update, closing = self._update(reply, question)
        emit([closing], question.config)
        return update

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        question = self._question(input, config or {})
        await aemit(question.opening, question.config)
        try:
            reply = await self._member.model.ainvoke(question.messages, question.child)
        except Exception as error:  # one proposer's failure is data: the others go on
            reply = error
        update, closing = self._update(reply, question)
        await aemit([closing], question.config)
        return update

    def _question(self, state: MoAState, config: RunnableConfig) -> _Question:
        references = self._before.references(state) if self._before else []
        start: Event = ("moa_proposer_start", {**self._about(), "total": len(self._layer.nodes)})
        # One node of a layer tells of the end of the layer before.
        news = [self._before.ended(state)] if self._before and self._node == self._layer.nodes[0] else []
        return _Question(
            messages=self._member.view(state["messages"], references),
            config=config,
            child=child_config(config, run_name=self._member.name, tag="moa:proposer"),
            opening=[*news, start],
            started=perf_counter(),
        )

    def _about(self) -> dict[str, Any]:
        return {"layer": self._layer.number, "proposer": self._member.name, "model": self._member.model_name}

    def _update(self, reply: Any, question: _Question) -> tuple[dict[str, Any], Event]:
        """Turn a reply or an error into what the node writes and what it reports."""
        message, error, status = _judge(reply)
        text = message.text.strip() if message else ""
        call = ProposerCall(
            proposer=self._member.name,
            model=(message and message.response_metadata.get("model_name")) or self._member.model_name,
            status=status,
            seconds=round(perf_counter() - question.started, 3),
            usage=getattr(message, "usage_metadata", None),
            error=_describe(error) if error else None,
        )
        update: dict[str, Any] = {"calls": {self._node: {**call, "text": text} if self._keep_text and text else call}}
        if error:
            logger.warning("Proposer %r of layer %d is left out: %s", self._member.name, self._layer.number, error)
            update["failures"] = [Failure(proposer=self._member.name, error=error)]
        else:
            update["references"] = [Reference(proposer=self._member.name, content=text)]
        progress: dict[str, Any] = {"total": len(self._layer.nodes)}
        if around := current_call(question.config):
            progress["done"] = around.count_finished(self._layer.number)
        return update, ("moa_proposer_end", {**self._about(), **call, **progress})


class AskAggregator(Runnable[MoAState, dict[str, Any]]):
    """A node: the answer, with what the proposers did in its metadata."""

    def __init__(self, model: Runnable[Any, Any], *, layers: Sequence[Layer]) -> None:
        """Keep who is asked.

        Args:
            model: Who writes the answer.
            layers: All layers, first to last.
        """
        self._model = model
        self._layers = layers

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the aggregator."""
        question = self._question(input, config or {})
        emit(question.opening, question.config)
        call = current_call(question.config)
        kwargs = call.aggregator_kwargs if call else {}
        if call is None or call.on_chunk is None:
            return self._update(input, question, self._model.invoke(question.messages, question.child, **kwargs))
        chunks = _Chunks(question.started)
        for chunk in self._model.stream(question.messages, question.child, **kwargs):
            call.on_chunk(chunks.add(chunk))
        return self._update(input, question, chunks.merged(), chunks.first_token_seconds)

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the aggregator."""
        question = self._question(input, config or {})
        await aemit(question.opening, question.config)
        call = current_call(question.config)
        kwargs = call.aggregator_kwargs if call else {}
        if call is None or call.on_chunk is None:
            return self._update(input, question, await self._model.ainvoke(question.messages, question.child, **kwargs))
        chunks = _Chunks(question.started)
        async for chunk in self._model.astream(question.messages, question.child, **kwargs):
            call.on_chunk(chunks.add(chunk))
        return self._update(input, question, chunks.merged(), chunks.first_token_seconds)

    def _question(self, state: MoAState, config: RunnableConfig) -> _Question:
        last = self._layers[-1]
        references = last.references(state)
        name = model_name(self._model)
        return _Question(
            messages=with_references(state["messages"], references),
            config=config,
            child=child_config(config, run_name="aggregator", tag="moa:aggregator"),
            opening=[last.ended(state), ("moa_aggregator_start", {"model": name, "references": len(references)})],
            started=perf_counter(),
        )

    def _update(
        self, state: MoAState, question: _Question, answer: AIMessage, first_token_seconds: float | None = None
    ) -> dict[str, Any]:
        """Write the answer at the end of the conversation, with an account of all calls in its metadata."""
        calls = state["calls"]
        layers = [[calls[node] for node in layer.nodes] for layer in self._layers]
        account = {
            "layers": layers,
            "aggregator": {
                "model": answer.response_metadata.get("model_name") or model_name(self._model),
                "seconds": round(perf_counter() - question.started, 3),
                "first_token_seconds": first_token_seconds,
                "usage": answer.usage_metadata,
            },
            "aggregation": "synthesize",
            "degraded": self._degraded(layers, state),
        }
        metadata = {**answer.response_metadata, "moa": account}
        return {"messages": [answer.model_copy(update={"response_metadata": metadata})]}

    def _degraded(self, layers: list[list[ProposerCall]], state: MoAState) -> list[dict[str, Any]]:
        """List what was less than asked for, in the order in which it happened."""
        degraded: list[dict[str, Any]] = [
            {"reason": f"proposer_{call['status']}", "layer": layer.number, "proposer": call["proposer"]}
            for layer, calls in zip(self._layers, layers, strict=True)
            for call in calls
            if call["status"] != "ok"
        ]
        if not self._layers[-1].references(state):
            degraded.append({"reason": "aggregated_alone", "layer": self._layers[-1].number})
        return degraded


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    """One call of a model, about to be made."""

    messages: list[BaseMessage]
    config: RunnableConfig
    """The node's own."""

    child: RunnableConfig
    """The model's."""

    opening: list[Event]
    started: float


class _Chunks:
    """The chunks of one answer, merged once at the end: adding them up one by one costs quadratic time."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._chunks: list[AIMessageChunk] = []
        self.first_token_seconds: float | None = None

    def add(self, message: AIMessage) -> AIMessageChunk:
        """Keep what a stream yielded: a chunk, or a whole message when the model does not stream."""
        if self.first_token_seconds is None:
            self.first_token_seconds = round(perf_counter() - self._started, 3)
        if not isinstance(message, AIMessageChunk):
            message = AIMessageChunk(**message.model_dump(exclude={"type"}))
        self._chunks.append(message)
        return message

    def merged(self) -> AIMessage:
        merged = message_chunk_to_message(add_ai_message_chunks(*self._chunks))
        assert isinstance(merged, AIMessage)
        return merged


def _judge(reply: Any) -> tuple[BaseMessage | None, Exception | None, Status]:
    """Tell what a proposer's reply is worth: the message, what is wrong with it, and the status."""
    if isinstance(reply, Exception):
        return None, reply, "timeout" if isinstance(reply, TimeoutError | ModelTimeoutError) else "failed"
    if isinstance(reply, str):
        reply = AIMessage(reply)
    if not isinstance(reply, BaseMessage):
        return None, TypeError(f"a proposer returns a message, not {type(reply).__name__}"), "failed"
    reason = reply.response_metadata.get("finish_reason") or reply.response_metadata.get("stop_reason")
    if not reply.text.strip():
        return reply, MoAError(f"empty answer (finish reason: {reason})"), "empty"
    return reply, None, "truncated" if reason in ("length", "max_tokens") else "ok"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _as_exception(error: Exception | str) -> Exception:
    return error if isinstance(error, Exception) else MoAError(error)
