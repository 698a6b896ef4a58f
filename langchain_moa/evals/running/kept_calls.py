"""Keep what the models inside of a composed one reply, until the answer that it goes into is stored.

An answer of several calls is stored when the last of them came back. If the process is killed before that, the next run
takes from here what came back already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from operator import or_
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableParallel
from langchain_core.tools import BaseTool

from langchain_moa.evals.results.journal import Journal, Row
from langchain_moa.evals.results.keys import key_of, words_of
from langchain_moa.evals.running.call_meter import plain


class KeptCalls:
    """The replies to the calls of answers that are not finished, in a file."""

    def __init__(self, path: Path) -> None:
        """Read the replies.

        Args:
            path: The file. It is there only as long as an answer is not finished.
        """
        self._path = path
        self._journal = Journal(path, identity=lambda row: row["key"])
        self._replies = {row["key"]: row for row in self._journal.rows}

    def __enter__(self) -> Self:
        """Open the file."""
        self._journal.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.__exit__()

    @contextmanager
    def answering(self, answer: str) -> Iterator[None]:
        """Keep the replies of every `KeptModel` that is asked inside.

        Args:
            answer: The key of the answer.
        """
        token = _current.set(_Answering(self, answer))
        try:
            yield
        finally:
            _current.reset(token)

    def find(self, key: str) -> Row | None:
        """Return the reply to a call."""
        return self._replies.get(key)

    def keep(self, row: Row) -> None:
        """Store the reply to a call."""
        self._journal.append(row)
        self._replies[row["key"]] = row

    def keep_only(self, answers: Iterable[str]) -> None:
        """Forget the replies of all other answers."""
        kept = set(answers)
        rows = [row for row in self._journal.rows if row["answer"] in kept]
        if rows:
            self._journal.rewrite(rows)
        else:
            self._path.unlink(missing_ok=True)


class _Answering:
    """The calls of one answer, in this run."""

    def __init__(self, kept: KeptCalls, answer: str) -> None:
        self.kept = kept
        self.answer = answer
        self._asked: Counter[str] = Counter()

    def key(self, *parts: Any) -> str:
        """Return the key of a call. The same request may come twice in an answer, and have two replies."""
        request = key_of(self.answer, *parts)
        self._asked[request] += 1
        return key_of(request, self._asked[request])


_current: ContextVar[_Answering | None] = ContextVar("answering", default=None)


class KeptModel(BaseChatModel):
    """A chat model whose replies are kept in a `KeptCalls`. A reply that is there takes as long as it took at first.

    It answers as a whole, never token by token.
    """

    bound: BaseChatModel
    place: str
    """Where it is asked: the same request at another place is another call."""

    @classmethod
    def of(cls, model: BaseChatModel, *, place: str) -> Self:
        """Wrap a model."""
        common = ("name", "cache", "callbacks", "metadata", "output_version", "profile", "rate_limiter", "tags")
        given = {name: getattr(model, name) for name in common}
        return cls(bound=model, place=place, disable_streaming=True, **given)

    @property
    def _llm_type(self) -> str:
        return self.bound._llm_type

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(self.bound._identifying_params)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.bound._get_ls_params(stop, **kwargs)

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in the model's own form."""
        bound: Any = self.bound.bind_tools(tools, **kwargs)
        return self.bind(**bound.kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer in a schema, in the model's own way."""
        structured: Any = self.bound.with_structured_output(schema, include_raw=include_raw, **kwargs)
        asked, *parsers = structured.steps  # the model, or with `include_raw` a map to it, then parsers
        own: Runnable[Any, Any]
        if isinstance(asked, RunnableParallel):
            own = RunnableParallel(raw=self.bind(**asked.steps__["raw"].kwargs))  # type: ignore[attr-defined]
        else:
            own = self.bind(**asked.kwargs)
        return reduce(or_, parsers, own)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Evaluations ask async only.
        return self.bound._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answering = _current.get()
        if answering is None:
            return await self.bound._agenerate(messages, stop, run_manager, **kwargs)
        key = answering.key(self.place, words_of(messages), stop, kwargs)
        if row := answering.kept.find(key):
            # Quorums, deadlines and the answer's seconds then are what they would have been.
            await asyncio.sleep(row["seconds"])
            return _to_result(row)
        started = perf_counter()
        result = await self.bound._agenerate(messages, stop, run_manager, **kwargs)
        (generation,) = result.generations
        # An empty reply may be why the answer failed, and the next run is to try that again.
        if generation.text or getattr(generation.message, "tool_calls", None):
            seconds = perf_counter() - started
            answering.kept.keep({"answer": answering.answer, "key": key, "seconds": seconds, **_to_row(result)})
        return result


def _to_row(result: ChatResult) -> Row:
    (generation,) = result.generations
    message = message_to_dict(generation.message)
    return {"message": plain(message), "info": plain(generation.generation_info), "output": plain(result.llm_output)}


def _to_result(row: Row) -> ChatResult:
    (message,) = messages_from_dict([row["message"]])
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info=row["info"])], llm_output=row["output"]
    )
