"""The node that has the aggregator write the answer."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from langchain_core.messages import AIMessage, message_chunk_to_message
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.events import aemit, child_config, current_call, current_tools, emit
from langchain_moa.layer import Layer, Question
from langchain_moa.models import model_name, model_profile
from langchain_moa.state import MoAState, ProposerCall
from langchain_moa.views import fitting_content


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

    def _question(self, state: MoAState, config: RunnableConfig) -> Question:
        last = self._layers[-1]
        conversation = fitting_content(state["messages"], model_profile(self._model))
        has_tools = bool(current_tools(config))
        messages, trimmed = last.place(conversation, state, reader=self._model, has_tools=has_tools)
        start = {"model": model_name(self._model), "references": len(last.references(state))}
        return Question(
            messages=messages,
            references_trimmed=trimmed,
            config=config,
            child=child_config(config, run_name="aggregator", tag="moa:aggregator"),
            opening=[last.ended(state), ("moa_aggregator_start", start)],
            started=perf_counter(),
        )

    def _update(
        self, state: MoAState, question: Question, answer: AIMessage, first_token_seconds: float | None = None
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
            "degraded": self._degraded(layers, state, question),
        }
        metadata = {**answer.response_metadata, "moa": account}
        return {"messages": [answer.model_copy(update={"response_metadata": metadata})]}

    def _degraded(self, layers: list[list[ProposerCall]], state: MoAState, question: Question) -> list[dict[str, Any]]:
        """List what was less than asked for, in the order in which it happened."""
        degraded: list[dict[str, Any]] = []
        for layer, calls in zip(self._layers, layers, strict=True):
            for call in calls:
                where = {"layer": layer.number, "proposer": call["proposer"]}
                if call.get("references_trimmed"):
                    degraded.append({"reason": "references_trimmed", **where})
                if call["status"] not in ("ok", "skipped"):
                    degraded.append({"reason": f"proposer_{call['status']}", **where})
        if question.references_trimmed:
            degraded.append({"reason": "references_trimmed"})
        last = self._layers[-1]
        if not last.references(state) and not last.is_skipped(state):
            degraded.append({"reason": "aggregated_alone", "layer": last.number})
        return degraded


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
