"""The node that makes one answer of the last layer's references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa._aggregation.aggregation import Aggregation, Mode, Outcome, plan
from langchain_moa._aggregation.judge import Asking, Judges
from langchain_moa._messages.conversation import adviser_view, fitting_content
from langchain_moa._models.factory import model_name, model_profile
from langchain_moa._nodes.layer import Layer, Question
from langchain_moa._nodes.writing import Attempt
from langchain_moa._runtime.events import Event, child_config, current_call, current_tools, emit, is_plain
from langchain_moa._runtime.sync_bridge import AsyncNode
from langchain_moa._runtime.turn_references import Turns
from langchain_moa.state import MoAState, Reference


class AskAggregator(AsyncNode[MoAState, dict[str, Any]]):
    """A node: the answer, with what the proposers did in its metadata."""

    def __init__(
        self, models: Sequence[Runnable[Any, Any]], *, how: Aggregation, layers: Sequence[Layer], turns: Turns
    ) -> None:
        """Keep who is asked.

        Args:
            models: Who writes the answer, then who is tried when the one before fails before its first token.
            how: The way from references to an answer.
            layers: All layers, first to last.
            turns: Is told that a turn has its answer.

        Raises:
            ValueError: The models can't judge, and this way needs a judge.
        """
        self._models = models
        self._how = how
        self._layers = layers
        self._turns = turns
        self._judges = Judges(models, how)

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Carry out the plan, then ask the aggregator, and if need be its fallbacks."""
        work = self._begin(input, config or {})
        await emit([work.layer.ended(input)], work.config)
        for asking in work.steps(self._judges):
            await emit(work.opening(), work.config)
            await asking.ask()
        for attempt in work.attempts():
            await emit(work.opening(attempt.model), work.config)
            await attempt.ask()
        return self._update(work)

    def _begin(self, state: MoAState, config: RunnableConfig) -> _Work:
        how = self._how if is_plain(config) else replace(self._how, mode="synthesize")
        return _Work(how=how, layer=self._layers[-1], state=state, config=config, models=self._models)

    def _update(self, work: _Work) -> dict[str, Any]:
        """Write the answer at the end of the conversation, with an account of all calls in its metadata."""
        state, outcome, answer, written = work.state, work.outcome, work.answer, work.written
        degraded = _degraded(self._layers, state, by=outcome.by)
        if not work.references and not work.layer.is_skipped(state):
            degraded.append({"reason": "aggregated_alone", "layer": work.layer.number})
        trimmed = [step["step"] for step in work.steps_taken if "references_trimmed" in step]
        degraded += [{"reason": "references_trimmed", "step": step} for step in trimmed]
        degraded += [*map(dict, outcome.degraded), *work.failed]
        if written and written.question.references_trimmed:
            degraded.append({"reason": "references_trimmed"})
        account: dict[str, Any] = {
            "layers": [layer.calls(state) for layer in self._layers],
            "aggregator": written and written.account(),
            "aggregation": outcome.by,
            "degraded": degraded,
            **outcome.account,
        }
        if work.steps_taken:
            account["steps"] = work.steps_taken
        if "gate" in state:
            account["gate"] = state["gate"]
        if work.layer.rules.shuffle_seed is not None:
            account["order"] = [layer.order(state) for layer in self._layers]
        self._turns.current(state, work.config).answered()
        metadata = {**answer.response_metadata, "moa": account}
        return {"messages": [answer.model_copy(update={"response_metadata": metadata})]}


@dataclass(kw_only=True, eq=False)
class _Work:
    """One run of the node: what it starts from, and how far it is."""

    how: Aggregation
    layer: Layer
    """The last one."""

    state: MoAState
    config: RunnableConfig
    models: Sequence[Runnable[Any, Any]]
    outcome: Outcome = field(init=False)
    """There when the plan's steps have been taken."""

    steps_taken: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    """The aggregators that failed before the one that answered."""

    answer: AIMessage = field(init=False)
    """There when the attempts have been made."""

    written: Attempt | None = None
    """The call that wrote the answer; none when a proposal won."""

    _is_opened: bool = False

    @cached_property
    def references(self) -> list[Reference]:
        """What the last layer gave, in the order in which it is shown. Raises as `Layer.references` does."""
        return self.layer.references(self.state)

    def steps(self, judges: Judges) -> Iterator[Asking]:
        """Yield what the plan asks on the way to its outcome; each is to be asked before the next is taken."""
        way = plan(self.how, self.references, self.layer.complete(self.references, self.state))
        try:
            step = next(way)
            conversation = adviser_view(self.state["messages"], ())
            child = child_config(self.config, run_name="judge", tag="moa:judge")
            while True:
                yield (asking := judges.asking(step, conversation, layer=self.layer, child=child))
                self.steps_taken.append(asking.account())
                step = way.throw(asking.error) if asking.error else way.send(asking.reply)
        except StopIteration as end:
            self.outcome = end.value

    def opening(self, model: Runnable[Any, Any] | None = None) -> list[Event]:
        """Return the event that tells of the aggregator's first call; nothing when it was told already."""
        if self._is_opened:
            return []
        self._is_opened = True
        name = model_name(model or self.models[0])
        return [("moa_aggregator_start", {"model": name, "references": len(self.references)})]

    def attempts(self) -> Iterator[Attempt]:
        """Yield calls of the aggregator and its fallbacks; each is to be made before the next is taken.

        Raises:
            Exception: What went wrong with the last one, or after its first token.
        """
        if self.outcome.winner is not None:
            self.answer = self._winner(self.outcome.winner)
            return
        for number, model in enumerate(self.models, 1):
            yield (attempt := self._attempt(model))
            if attempt.error is None:
                self.answer, self.written = attempt.answer, attempt
                return
            if number == len(self.models) or attempt.has_begun:
                raise attempt.error
            self.failed.append(attempt.failure(attempt.error))

    def _attempt(self, model: Runnable[Any, Any]) -> Attempt:
        conversation = fitting_content(self.state["messages"], model_profile(model))
        messages, trimmed = self.layer.place(
            conversation,
            self.outcome.texts,
            reader=model,
            has_tools=bool(current_tools(self.config)),
            render=self.outcome.render,
        )
        question = Question(
            messages=messages,
            references_trimmed=trimmed,
            child=child_config(self.config, run_name="aggregator", tag="moa:aggregator"),
            started=perf_counter(),
        )
        call = current_call(self.config)
        return Attempt(
            model=model,
            question=question,
            arguments=call.aggregator_kwargs if call else {},
            on_chunk=call.on_chunk if call else None,
            on_chunks=call.on_chunks if call else None,
        )

    def _winner(self, reference: Reference) -> AIMessage:
        """Return a proposal as the answer, in one piece also for whoever listens."""
        calls = self.layer.calls(self.state)
        model = next(call["model"] for call in calls if call["proposer"] == reference["proposer"])
        # Only a proposal that has ended by itself can win.
        metadata = {"finish_reason": "stop", "model_name": model}
        call = current_call(self.config)
        if call and call.on_chunk:
            call.on_chunk(AIMessageChunk(content=reference["content"], response_metadata=metadata))
        return AIMessage(content=reference["content"], response_metadata=metadata)


def _degraded(layers: Sequence[Layer], state: MoAState, *, by: Mode) -> list[dict[str, Any]]:
    """List what the proposers gave less than asked for, in the order in which it happened."""
    degraded: list[dict[str, Any]] = []
    for layer in layers:
        for call in layer.calls(state):
            where = {"layer": layer.number, "proposer": call["proposer"]}
            if call.get("references_trimmed"):
                degraded.append({"reason": "references_trimmed", **where})
            # A vote that is decided needs no more voters.
            if call["status"] not in ("ok", "skipped", "cancelled" if by == "vote" else ""):
                degraded.append({"reason": f"proposer_{call['status']}", **where})
    return degraded
