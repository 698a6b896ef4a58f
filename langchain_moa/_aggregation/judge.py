"""Asking the aggregator the questions that a plan has before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from time import perf_counter
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.constants import TAG_NOSTREAM
from pydantic import BaseModel

from langchain_moa._aggregation.aggregation import Aggregation, Step, UnusableError
from langchain_moa._messages.conversation import fitting_content, reference_text
from langchain_moa._messages.endings import is_cut_off
from langchain_moa._models.factory import model_name, model_profile, quiet
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.sync_bridge import call
from langchain_moa.exceptions import describe


class Judges:
    """The aggregator and its fallbacks, ready to answer in a schema."""

    def __init__(self, models: Sequence[Runnable[Any, Any]], how: Aggregation) -> None:
        """Prepare what a way of aggregating needs.

        Args:
            models: The aggregator, then its fallbacks.
            how: The way.

        Raises:
            ValueError: One of them takes no schema, and the way needs one.
        """
        self._given = models
        self._in_schema = cache(lambda schema: _with_fallbacks(self._models, schema))
        if how.schema:  # tells at construction what can't be asked
            self._in_schema(how.schema)

    @cached_property
    def _models(self) -> list[Runnable[Any, Any]]:
        return [quiet(model) for model in self._given]

    def asking(self, step: Step, conversation: list[BaseMessage], *, layer: Layer, child: RunnableConfig) -> Asking:
        """Return a call that is about to be made for a step of a plan."""
        first = self._models[0]
        seen = fitting_content(conversation, model_profile(first))
        messages, trimmed = layer.place(seen, step.texts, reader=first, render=step.render)
        # What it says is no part of the answer, for whoever watches the graph's messages.
        child = {**child, "tags": [*(child.get("tags") or []), TAG_NOSTREAM]}
        return Asking(
            step=step,
            model=self._in_schema(step.schema),
            name=model_name(first),
            messages=messages,
            references_trimmed=trimmed,
            child=child,
        )


@dataclass(kw_only=True, eq=False)
class Asking:
    """One call on the way to the answer. When it was asked, it has a reply or an error."""

    step: Step
    model: Runnable[Any, Any]
    name: str
    """The model's."""

    messages: list[BaseMessage]
    references_trimmed: bool
    child: RunnableConfig
    reply: Any = None
    """An instance of the step's schema, or a text."""

    error: Exception | None = None
    _message: AIMessage | None = None
    _seconds: float = 0
    _started: float = field(default_factory=perf_counter)

    async def ask(self) -> None:
        """Ask; what goes wrong is kept."""
        try:
            self._settle(await call(self.model, self.messages, self.child))
        except Exception as error:
            self.error = error
            self._seconds = perf_counter() - self._started

    def account(self) -> dict[str, Any]:
        """Return what the answer's metadata says about it."""
        message = self._message
        account: dict[str, Any] = {
            "step": self.step.name,
            "model": (message and message.response_metadata.get("model_name")) or self.name,
            "seconds": round(self._seconds, 3),
            "usage": message and message.usage_metadata,
        }
        if self.references_trimmed:
            account["references_trimmed"] = True
        if self.error:
            account["error"] = describe(self.error)
        return account

    def _settle(self, answered: Any) -> None:
        self._seconds = perf_counter() - self._started
        message: AIMessage = answered if self.step.schema is None else answered["raw"]
        self._message = message
        if self.step.schema is None:
            self.reply = reference_text(message)
            return
        self.reply = answered["parsed"]
        if not isinstance(self.reply, BaseModel):
            raise UnusableError("it was cut off" if is_cut_off(message) else "it does not fit the schema")


def _with_fallbacks(models: Sequence[Runnable[Any, Any]], schema: type[BaseModel] | None) -> Runnable[Any, Any]:
    first, *others = [_in_schema(model, schema) for model in models]
    return first.with_fallbacks(others) if others else first


def _in_schema(model: Runnable[Any, Any], schema: type[BaseModel] | None) -> Runnable[Any, Any]:
    if schema is None:
        return model
    try:
        structured: Runnable[Any, Any] = model.with_structured_output(schema, include_raw=True)  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError):
        msg = f"{model_name(model)!r} can't answer in a schema, which the judge of this aggregation has to."
        raise ValueError(msg) from None
    return structured
