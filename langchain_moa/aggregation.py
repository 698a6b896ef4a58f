"""The node that has the aggregator write the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, cast

from langchain_core.messages import AIMessage, message_chunk_to_message
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.events import aemit, child_config, current_call, current_tools, emit, shared_by
from langchain_moa.layer import Layer, Question, describe
from langchain_moa.models import model_name, model_profile
from langchain_moa.state import MoAState, ProposerCall
from langchain_moa.turns import Turns
from langchain_moa.views import fitting_content

logger = logging.getLogger(__name__)


class AskAggregator(Runnable[MoAState, dict[str, Any]]):
    """A node: the answer, with what the proposers did in its metadata."""

    def __init__(self, models: Sequence[Runnable[Any, Any]], *, layers: Sequence[Layer], turns: Turns) -> None:
        """Keep who is asked.

        Args:
            models: Who writes the answer, then who is tried when the one before fails before its first token.
            layers: All layers, first to last.
            turns: Is told that a turn has its answer.
        """
        self._models = models
        self._layers = layers
        self._turns = turns

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the aggregator, and if need be its fallbacks."""
        config = config or {}
        failed: list[dict[str, Any]] = []
        for model in self._models:
            attempt = self._attempt(model, input, config)
            emit(attempt.question.opening if not failed else [], config)
            try:
                answer = attempt.ask()
            except Exception as error:
                if model is self._models[-1] or attempt.has_begun:
                    raise
                failed.append(attempt.failure(error))
            else:
                return self._update(input, attempt, answer, failed)
        raise AssertionError  # the last model returns or raises

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the aggregator, and if need be its fallbacks."""
        config = config or {}
        failed: list[dict[str, Any]] = []
        for model in self._models:
            attempt = self._attempt(model, input, config)
            await aemit(attempt.question.opening if not failed else [], config)
            try:
                answer = await attempt.aask()
            except Exception as error:
                if model is self._models[-1] or attempt.has_begun:
                    raise
                failed.append(attempt.failure(error))
            else:
                return self._update(input, attempt, answer, failed)
        raise AssertionError  # the last model returns or raises

    def _attempt(self, model: Runnable[Any, Any], state: MoAState, config: RunnableConfig) -> _Attempt:
        last = self._layers[-1]
        conversation = fitting_content(state["messages"], model_profile(model))
        has_tools = bool(current_tools(config))
        messages, trimmed = last.place(conversation, state, reader=model, has_tools=has_tools)
        start = {"model": model_name(model), "references": len(last.references(state))}
        question = Question(
            messages=messages,
            references_trimmed=trimmed,
            config=config,
            child=child_config(config, run_name="aggregator", tag="moa:aggregator"),
            opening=[last.ended(state), ("moa_aggregator_start", start)],
            started=perf_counter(),
        )
        shared_by(state, config).check()
        call = current_call(config)
        return _Attempt(
            model=model,
            question=question,
            arguments=call.aggregator_kwargs if call else {},
            on_chunk=call.on_chunk if call else None,
        )

    def _update(
        self, state: MoAState, attempt: _Attempt, answer: AIMessage, failed: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Write the answer at the end of the conversation, with an account of all calls in its metadata."""
        calls = state["calls"]
        layers = [[calls[node] for node in layer.nodes] for layer in self._layers]
        account = {
            "layers": layers,
            "aggregator": {
                "model": answer.response_metadata.get("model_name") or model_name(attempt.model),
                "seconds": attempt.seconds(),
                "first_token_seconds": attempt.first_token_seconds,
                "usage": answer.usage_metadata,
            },
            "aggregation": "synthesize",
            "degraded": [*self._degraded(layers, state, attempt.question), *failed],
        }
        self._turns.answered(state["messages"], has_tools=bool(current_tools(attempt.question.config)))
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


class _Attempt:
    """One call of an aggregator: whole, or chunk by chunk for whoever listens."""

    def __init__(
        self,
        *,
        model: Runnable[Any, Any],
        question: Question,
        arguments: Mapping[str, Any],
        on_chunk: Callable[[AIMessageChunk], None] | None,
    ) -> None:
        self.model = model
        self.question = question
        self.first_token_seconds: float | None = None
        self._arguments = arguments
        self._on_chunk = on_chunk
        self._chunks: list[AIMessageChunk] = []

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer is with the caller already."""
        return self.first_token_seconds is not None

    def ask(self) -> AIMessage:
        question = self.question
        if self._on_chunk is None:
            return cast("AIMessage", self.model.invoke(question.messages, question.child, **self._arguments))
        for chunk in self.model.stream(question.messages, question.child, **self._arguments):
            self._on_chunk(self._keep(chunk))
        return self._merged()

    async def aask(self) -> AIMessage:
        question = self.question
        if self._on_chunk is None:
            return cast("AIMessage", await self.model.ainvoke(question.messages, question.child, **self._arguments))
        async for chunk in self.model.astream(question.messages, question.child, **self._arguments):
            self._on_chunk(self._keep(chunk))
        return self._merged()

    def seconds(self) -> float:
        return round(perf_counter() - self.question.started, 3)

    def failure(self, error: Exception) -> dict[str, Any]:
        logger.warning("Aggregator %r failed before its first token: %s", model_name(self.model), error)
        return {"reason": "aggregator_failed", "model": model_name(self.model), "error": describe(error)}

    def _keep(self, message: AIMessage) -> AIMessageChunk:
        """Keep what a stream yielded: a chunk, or a whole message when the model does not stream."""
        if not isinstance(message, AIMessageChunk):
            message = AIMessageChunk(**message.model_dump(exclude={"type"}))
        # Providers open a stream with a chunk that says nothing but the role.
        if not self.has_begun and (message.content or message.tool_call_chunks or message.additional_kwargs):
            self.first_token_seconds = self.seconds()
        self._chunks.append(message)
        return message

    def _merged(self) -> AIMessage:
        # Merged once: adding chunks up one by one costs quadratic time.
        return cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(*self._chunks)))
