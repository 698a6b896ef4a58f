"""The models that are asked on the way to the answer: judges, and writers of a pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langgraph.constants import TAG_NOSTREAM
from pydantic import BaseModel

from langchain_moa._aggregation.outcome import UnusableReplyError
from langchain_moa._messages.conversation import reference_text
from langchain_moa._messages.endings import end_of, ending
from langchain_moa._models.factory import bound_arguments, changed_inside, without_streaming
from langchain_moa._models.members import Participant
from langchain_moa._runtime.sync_bridge import call


class Judge:
    """One model, ready to answer in a schema or as a text."""

    def __init__(self, participant: Participant, *, cache: bool) -> None:
        """Prepare the model.

        Args:
            participant: The model.
            cache: Whether it may answer from a cache.
        """
        self.participant = participant
        self.model_name = participant.model_name
        self._model = without_streaming(participant.model, cache=cache)
        self._in_schema = functools.cache(self._with_schema)

    def check(self, schema: type[BaseModel]) -> None:
        """Check that the model takes a schema.

        Raises:
            ValueError: It takes none.
        """
        self._in_schema(schema)

    def takes(self, schema: type[BaseModel]) -> bool:
        """Tell whether the model takes a schema."""
        try:
            self.check(schema)
        except ValueError:
            return False
        return True

    async def ask(self, messages: Sequence[Any], schema: type[BaseModel] | None, child: RunnableConfig) -> Judgment:
        """Ask the model.

        Raises:
            Exception: Its own error.
        """
        # What it says is no part of the answer, for whoever watches the graph's messages.
        child = {**child, "tags": [*(child.get("tags") or []), TAG_NOSTREAM]}
        if schema is None:
            return Judgment(await call(self._model, messages, child), None, self.participant.provider)
        reply = await call(self._in_schema(schema), messages, child)
        return Judgment(reply["raw"], reply["parsed"], self.participant.provider)

    def _with_schema(self, schema: type[BaseModel]) -> Runnable[Any, Any]:
        model = self._model
        while isinstance(model, RunnableBinding):
            model = model.bound
        try:
            structured: Runnable[Any, Any] = model.with_structured_output(schema, include_raw=True)  # type: ignore[attr-defined]
        except (AttributeError, NotImplementedError):
            name = self.participant.model_name
            msg = f"{name!r} can't answer in a schema, which the judge of this aggregation has to."
            raise ValueError(msg) from None
        own = bound_arguments(self._model)  # a binding knows no schemas
        return changed_inside(structured, lambda asked: asked.bind(**own)) if own else structured


class Judgment:
    """A judge's reply."""

    def __init__(self, message: AIMessage | str, parsed: Any, provider: str | None) -> None:
        self.message = AIMessage(message) if isinstance(message, str) else message
        self._parsed = parsed
        self._provider = provider

    def text(self) -> str:
        """Return the reply's text.

        Raises:
            UnusableReplyError: It is empty, cut off or filtered.
        """
        text, ended = reference_text(self.message), ending(self.message, provider=self._provider)
        if not text or ended != "ok":
            raise UnusableReplyError(_what_is_wrong(self.message, "empty" if not text else ended))
        return text

    def parsed(self) -> BaseModel:
        """Return the reply in its schema.

        Raises:
            UnusableReplyError: It does not fit, because it was cut off or for another reason.
        """
        if not isinstance(self._parsed, BaseModel):
            ended = ending(self.message, provider=self._provider)
            raise UnusableReplyError(_what_is_wrong(self.message, ended))
        return self._parsed


def _what_is_wrong(message: AIMessage, ended: str) -> str:
    wrong = {
        "empty": f"it is empty (finish reason: {end_of(message)[1]})",
        "truncated": "it was cut off",
        "filtered": "it was filtered",
        "unknown": "its end was never reported",
    }
    return wrong.get(ended, "it does not fit the schema")
