"""The node that makes one answer of the last layer's references."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from time import perf_counter
from typing import Any, TypeVar

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel

from langchain_moa._aggregation.analyze import Analysis, analyze
from langchain_moa._aggregation.judge import Judge
from langchain_moa._aggregation.outcome import BudgetReachedError, Outcome, reason
from langchain_moa._aggregation.select import Choice, select
from langchain_moa._aggregation.synthesize import in_passes, synthesize
from langchain_moa._aggregation.vote import vote
from langchain_moa._messages.conversation import adviser_view
from langchain_moa._messages.costs import Bill, calls_of, total_of
from langchain_moa._messages.endings import ending
from langchain_moa._messages.prompts import Render
from langchain_moa._models.members import Participant
from langchain_moa._nodes.attempt import Attempt
from langchain_moa._nodes.budget import Budget
from langchain_moa._nodes.layer import Layer, degraded_layers, last_asked, with_bills
from langchain_moa._runtime.bills import bill
from langchain_moa._runtime.call_context import CallContext, call_context, child_config
from langchain_moa._runtime.sync_bridge import AsyncNode
from langchain_moa._runtime.turn_references import turn_references
from langchain_moa.answer_keys import AnswerKey
from langchain_moa.exceptions import describe
from langchain_moa.state import MoAState, Reference

logger = logging.getLogger(__name__)

_Model = TypeVar("_Model", Judge, Participant)
_Reply = TypeVar("_Reply")

# What a judge answers with, by the way to aggregate that needs one.
_SCHEMAS: Mapping[str, type[BaseModel]] = {"select": Choice, "analyze": Analysis}


class AskAggregator(AsyncNode[MoAState, dict[str, Any]]):
    """A node: the answer, with what the proposers did in its metadata."""

    def __init__(
        self,
        aggregators: Sequence[Participant],
        *,
        judges: Sequence[Participant],
        layers: Sequence[Layer],
        answer_key: AnswerKey,
        window: int | None,
    ) -> None:
        """Prepare the node.

        Args:
            aggregators: The model that writes the answer, then those that are tried when it fails.
            judges: The judge and its fallbacks, if it is another model; the aggregators come after them.
            layers: All layers, first to last.
            answer_key: From a proposal's text to what it votes for.
            window: Maximum number of references that one call sees; `None`: all.

        Raises:
            ValueError: A model takes no schema, and this way to aggregate needs one.
        """
        options = layers[-1].options
        self.aggregators = aggregators
        # Of a cache, verdicts over the same order would be the same verdict.
        cache = options.judge_samples == 1
        self.readers = [Judge(aggregator, cache=cache) for aggregator in aggregators]
        self.judges = [Judge(judge, cache=cache) for judge in judges]
        if schema := _SCHEMAS.get(options.aggregation):
            for judge in self.judges or self.readers:
                judge.check(schema)
            self.judges += [reader for reader in self.readers if reader.takes(schema)]
        self.layers = layers
        self.answer_key = answer_key
        self.window = window
        self.options = options
        self.budget = Budget(options)
        self.render = layers[-1].render

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Aggregate the references, and write the answer."""
        return {"messages": [await _Run(self, input, config or {}).answer()]}


class _Run:
    """One run of the node."""

    def __init__(self, node: AskAggregator, state: MoAState, config: RunnableConfig) -> None:
        self._node = node
        self._state = state
        self._config = config
        self._context: CallContext = call_context(config)
        self._layer = last_asked(node.layers, state)
        given = self._context.messages
        self._conversation = state["messages"] if given is None else list(given)
        self._references = self._layer.references(state)
        self._is_trimmed = False
        self._asked: list[list[dict[str, Any]]] = []
        """Of each question on the way to the answer, in the order in which they were put: who replied."""
        self._failed: list[dict[str, Any]] = []
        """Entries of `degraded`: the models that failed before another one answered in their place."""
        self._is_announced = False

    async def answer(self) -> AIMessage:
        """Return the answer, with an account of all calls in its metadata."""
        await self._context.emit(self._layer.ended(self._state))
        outcome = await self._aggregate()
        if outcome.winner is None and not self._has_room(1):
            outcome = self._without_writing(outcome)
        if outcome.winner is not None:
            answer, written = await self._winner(outcome.winner), None
        else:
            answer, written = await self._write(outcome)
        self._state = await with_bills(self._state, self._layer.prices)
        aggregator = {**written.account(), **await self._bill(answer, written.writer)} if written else None
        account = self._account(outcome, written, answer, aggregator)
        answer = answer.model_copy(update={"response_metadata": {**answer.response_metadata, "moa": account}})
        if turn := self._state["run"].turn:
            turn_references.keep(turn, answer, self._conversation, self._context.caller)
        return answer

    # -- From the references to how the answer comes about ----------------------------------------------------------

    async def _aggregate(self) -> Outcome:
        options, references = self._node.options, self._references
        # Without references the aggregator answers alone; with tools or a schema only it can answer.
        if not references or self._context.answer_form != "text":
            return await self._synthesize()
        if options.aggregation == "select":
            return await self._select()
        if options.aggregation == "vote":
            return await self._vote()
        if options.aggregation == "analyze":
            return await self._analyze()
        return await self._synthesize()

    async def _synthesize(self, *degraded: Mapping[str, Any], account: Any = None) -> Outcome:
        node = self._node
        return await synthesize(
            self._ask,
            self._references,
            render=node.render,
            window=node.window,
            reserve=node.options.reserve,
            account=account,
            degraded=degraded,
        )

    async def _select(self) -> Outcome:
        candidates = self._layer.complete(self._references, self._state)
        if not candidates:
            return await self._synthesize(reason("no_complete_candidate"))
        outcome = await select(
            self._ask,
            candidates,
            samples=self._node.options.judge_samples,
            criteria=self._node.options.criteria,
            window=self._node.window,
            random=self._layer.random(self._state),
        )
        if outcome.winner is not None:
            return outcome
        return await self._synthesize(*outcome.degraded, account=outcome.account)

    async def _vote(self) -> Outcome:
        candidates = self._layer.complete(self._references, self._state)
        outcome = await vote(candidates, key=self._node.answer_key)
        if outcome.winner is not None:
            return outcome
        why = "vote_tied" if outcome.account["vote"]["votes"] else "vote_without_answer"
        return await self._synthesize(reason(why), account=outcome.account)

    async def _analyze(self) -> Outcome:
        node = self._node
        texts = [reference["content"] for reference in self._references]
        try:
            failed: Sequence[Mapping[str, Any]] = []
            if node.window is not None:
                texts, failed = await in_passes(
                    self._ask, texts, render=node.render, window=node.window, reserve=node.options.reserve
                )
            return await analyze(self._ask, texts, render=node.render, criteria=node.options.criteria, degraded=failed)
        except Exception as error:
            return await self._synthesize(reason("analysis_unusable", error))

    async def _ask(
        self, step: str, references: Sequence[str], render: Render, schema: type[BaseModel] | None = None
    ) -> Any:
        """Ask the judge, or without a schema the aggregator, and if it fails its fallbacks. See `Ask`."""
        # Verdicts are asked for side by side, and the winner's text is the answer; after any other step one is written.
        is_verdict = schema is not None and self._node.options.aggregation == "select"
        if not self._has_room(self._node.options.judge_samples if is_verdict else 2):
            raise BudgetReachedError(step)
        steps: list[dict[str, Any]] = []
        self._asked.append(steps)  # at once: verdicts are asked for side by side
        await self._announce()
        view = adviser_view(self._conversation, ())
        child = child_config(self._config, run_name="judge", tag="moa:judge", prices=self._layer.prices)

        async def ask(model: Judge) -> Any:
            reader = model.participant
            messages, is_trimmed = self._layer.place(reader.sees(view), references, reader=reader, render=render)
            account: dict[str, Any] = {"step": step, "model": model.model_name, "usage": None}
            if is_trimmed:
                account["references_trimmed"] = True
            started = perf_counter()
            steps.append(account)
            try:
                judgment = await model.ask(messages, schema, child)
                account["model"] = judgment.message.response_metadata.get("model_name") or model.model_name
                account["usage"] = judgment.message.usage_metadata
                account |= await self._bill(judgment.message, reader)
                return judgment.text() if schema is None else judgment.parsed()
            except Exception as error:
                account["error"] = describe(error)
                raise
            finally:
                account["seconds"] = round(perf_counter() - started, 3)

        models, role = (self._node.readers, "aggregator") if schema is None else (self._node.judges, "judge")
        return await self._first_to_answer(models, ask, role=role, step=step)

    # -- From there to the answer ------------------------------------------------------------------------------------

    async def _write(self, outcome: Outcome) -> tuple[AIMessage, Attempt]:
        """Ask the aggregator, and if it fails before its first token its fallbacks.

        Raises:
            Exception: The last one's error, or one that came after the first token.
        """
        options, tools = self._node.options, self._context.tools
        patience = options.first_token_timeout or options.timeout
        child = child_config(self._config, run_name="aggregator", tag="moa:aggregator", prices=self._layer.prices)
        attempts: list[Attempt] = []

        async def write(writer: Participant) -> AIMessage:
            await self._announce()
            messages, self._is_trimmed = self._layer.place(
                writer.sees(self._conversation),
                outcome.references,
                reader=writer,
                tools=tools,
                render=outcome.render,
            )
            attempts.append(Attempt(writer, self._context, first_token_timeout=patience))
            return await attempts[-1].write(messages, child)

        answer = await self._first_to_answer(
            self._node.aggregators,
            write,
            role="aggregator",
            unless=lambda: any(attempt.has_begun for attempt in attempts),
        )
        return answer, attempts[-1]

    async def _first_to_answer(
        self,
        models: Sequence[_Model],
        ask: Callable[[_Model], Awaitable[_Reply]],
        *,
        role: str,
        unless: Callable[[], bool] = lambda: False,
        **details: Any,
    ) -> _Reply:
        """Ask a model, and if it fails its fallbacks, in this order.

        Args:
            models: The model, then its fallbacks.
            ask: Asks one of them.
            role: What it is, in the metadata's `degraded`.
            unless: Whether it is too late for another one.
            **details: What `degraded` says beside.

        Raises:
            Exception: The last one's error, or one for which it is too late.
        """
        for model in models:
            try:
                return await ask(model)
            except Exception as error:
                if model is models[-1] or unless():
                    raise
                logger.warning("The %s %r failed: %s", role, model.model_name, describe(error))
                self._failed.append(reason(f"{role}_failed", error, **details, model=model.model_name))
        raise AssertionError("there is at least one model")

    async def _winner(self, reference: Reference) -> AIMessage:
        """Return a proposal as the answer, in one piece also for whoever listens."""
        calls = self._layer.calls(self._state)
        call = next(call for call in calls if call["proposer"] == reference["proposer"])
        metadata = {"finish_reason": call["finish_reason"], "model_name": call["model"]}
        if self._context.on_chunk:
            chunk = AIMessageChunk(content=reference["content"], response_metadata=dict(metadata))
            await self._context.on_chunk(chunk)
        return AIMessage(content=reference["content"], response_metadata=metadata)

    def _has_room(self, calls: int) -> bool:
        node = self._node
        return node.budget.has_room(calls, self._state, node.layers, like=self._layer, steps=self._steps)

    def _without_writing(self, outcome: Outcome) -> Outcome:
        """Take the first complete proposal as the answer, if one can be: tools and schemas are the aggregator's."""
        candidates = self._layer.complete(self._references, self._state)
        if not candidates or self._context.answer_form != "text":
            return outcome
        skipped = reason("budget_reached", skipped="answer", instead=candidates[0]["proposer"])
        return replace(outcome, winner=candidates[0], degraded=[*outcome.degraded, skipped])

    async def _announce(self) -> None:
        """Report that the aggregator begins, at the first of its calls."""
        if not self._is_announced:
            self._is_announced = True
            data = {"model": self._node.aggregators[0].model_name, "references": len(self._references)}
            await self._context.emit(("moa_aggregator_start", data))

    # -- What the metadata tells -------------------------------------------------------------------------------------

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return list(chain.from_iterable(self._asked))

    async def _bill(self, reply: AIMessage, model: Participant) -> Bill:
        return await bill(self._layer.prices, reply, model=model.model_name, provider=model.ls_provider)

    def _account(
        self, outcome: Outcome, written: Attempt | None, answer: AIMessage, aggregator: dict[str, Any] | None
    ) -> dict[str, Any]:
        node, state = self._node, self._state
        layers = [layer.calls(state) for layer in node.layers]
        account: dict[str, Any] = {
            "layers": layers,
            "aggregator": aggregator,
            "aggregation": outcome.aggregation,
            "degraded": [
                *degraded_layers(node.layers, state, is_vote=outcome.aggregation == "vote"),
                *self._degraded_answer(outcome, written, answer),
            ],
            **outcome.account,
        }
        if steps := self._steps:
            account["steps"] = steps
        if "gate_call" in state:
            account["gate"] = state["gate_call"]
        if node.options.shuffle:
            account["order"] = [layer.order(state) for layer in node.layers]
        account["degraded"] += node.budget.degraded(list(calls_of(account)))
        if self._layer.prices:
            account["cost"] = total_of(calls_of(account))
        if turn := state["run"].turn:
            account["turn"] = turn.token
        return account

    def _degraded_answer(self, outcome: Outcome, written: Attempt | None, answer: AIMessage) -> list[dict[str, Any]]:
        """List what went wrong from the references to the answer."""
        degraded = [*map(dict, outcome.degraded), *self._failed]
        for step in self._steps:
            if "references_trimmed" in step:
                degraded.append(reason("references_trimmed", step=step["step"]))
        if written is None:
            return degraded
        if self._is_trimmed:
            degraded.append(reason("references_trimmed"))
        if (ended := ending(answer, provider=written.writer.provider)) != "ok":
            degraded.append(reason({"unknown": "answer_unfinished"}.get(ended, f"answer_{ended}")))
        return degraded
