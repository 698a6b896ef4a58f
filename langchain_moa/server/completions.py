"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai import OpenAIError
from starlette.requests import Request
from starlette.responses import Response

from langchain_moa.chat_models import ChatMoA
from langchain_moa.local import ChatLocal
from langchain_moa.server.api_errors import ApiError, UnavailableModelError, UnknownModelError, explain
from langchain_moa.server.closing import Closing
from langchain_moa.server.completion_objects import CompletionStream, OpenAIResponse
from langchain_moa.server.encoding import Json
from langchain_moa.server.exchange import Exchange, exchange
from langchain_moa.server.overrides import check_calls
from langchain_moa.server.requests import Completion, parse
from langchain_moa.server.served import Served
from langchain_moa.server.streaming import EventStream, with_keep_alive


class AnswerForm(Protocol):
    """Converts one answer to an API's JSON, or its chunks to server-sent events."""

    @property
    def account(self) -> dict[str, Any]:
        """The `response_metadata["moa"]` of a streamed answer, available after the last chunk."""

    def whole(self, answer: AIMessage) -> dict[str, Any]:
        """Return the whole answer."""

    def idle(self) -> bytes:
        """Return what is sent when there was no chunk for a while."""

    def delta(self, chunk: AIMessageChunk) -> bytes:
        """Return the events for a chunk; empty if it has only metadata."""

    def end(self) -> bytes:
        """Return the last events."""

    def failed(self, error: ApiError) -> bytes:
        """Return the last events of a stream that ends with an error."""


class ChatCompletions:
    """The handler of OpenAI's chat completions, and of APIs that are one in another form."""

    def __init__(
        self, served: Served, *, allow_overrides: bool, max_calls: int, keep_alive: float, closing: Closing
    ) -> None:
        self._served = served
        self._allow_overrides = allow_overrides
        self._max_calls = max_calls
        self._keep_alive = keep_alive
        self._closing = closing

    async def create(self, request: Request) -> Response:
        """Handle one request."""
        asked = parse(await request.body(), request.headers, allow_overrides=self._allow_overrides)
        form = CompletionStream(OpenAIResponse(model=asked.model), include_usage=asked.include_usage)
        return await self.answer(request, asked, form)

    async def answer(self, request: Request, asked: Completion, form: AnswerForm) -> Response:
        """Answer one request, as a whole or as a stream.

        Args:
            request: The HTTP request.
            asked: Its content.
            form: Converts the answer.
        """
        messages = asked.conversation()
        seen = exchange(request)
        seen.is_stream = bool(asked.stream)
        seen.ignored += asked.ignored()
        model = await self._find(asked, seen)
        runnable, arguments = _bind(model, asked)
        config: RunnableConfig = {"metadata": asked.trace_metadata()}
        if not asked.stream:
            answer = await runnable.ainvoke(messages, config, **arguments)
            seen.answered(answer.response_metadata["moa"])
            return Json(form.whole(answer))
        chunks = cast("AsyncGenerator[AIMessageChunk]", runnable.astream(messages, config, **arguments))
        events = _events(with_keep_alive(chunks, self._keep_alive, closing=self._closing), form, seen)
        # Errors before the first event are sent with their HTTP status.
        return EventStream(await anext(events), events)

    async def _find(self, asked: Completion, seen: Exchange) -> ChatMoA:
        """Return the mixture. It may have to be built, in a thread because that takes a moment."""
        overrides = asked.overrides()
        seen.model = self._served.resolve(asked.model)
        seen.is_variant = bool(overrides)
        if not overrides:
            return await asyncio.to_thread(self._served.model, asked.model)
        try:
            variant = await asyncio.to_thread(self._served.variant, asked.model, overrides)
            check_calls(variant, self._served.model(asked.model), self._max_calls)
            return variant
        except (UnknownModelError, UnavailableModelError):
            raise
        except (ValueError, ImportError, OpenAIError) as error:
            raise ApiError(400, explain(error), code="invalid_value") from error


def _bind(model: ChatMoA, asked: Completion) -> tuple[Runnable[LanguageModelInput, AIMessage], dict[str, Any]]:
    """Return the model bound to the request's tools, and the call-time arguments.

    Raises:
        ApiError: The aggregator does not support tools.
    """
    arguments = _arguments(model, asked)
    if not asked.tools:
        return model, arguments
    try:
        return model.bind_tools(asked.functions(), **asked.tool_arguments()), arguments
    except NotImplementedError:
        text = f"tools: the aggregator of {asked.model!r} can't call tools; choose another model."
        raise ApiError(400, text, code="unsupported_value", param="tools") from None
    except ValueError as error:
        raise ApiError(400, f"tools: {explain(error)}", code="invalid_value", param="tools") from error


def _arguments(model: ChatMoA, asked: Completion) -> dict[str, Any]:
    aggregator = model.aggregator_model
    arguments, extra = asked.arguments(), asked.provider_arguments()
    wanted = asked.response_format
    if wanted and wanted.get("type") != "text":
        if isinstance(aggregator, BaseChatOpenAI | ChatLocal):
            # langchain-openai has the SDK parse an answer in a format (1.7), which fails for one that max_tokens cut
            # off and for tools that are not strict: whether to parse is up to the client.
            extra["response_format"] = wanted
        else:
            arguments["response_format"] = wanted
    if extra:
        arguments["extra_body"] = {**(getattr(aggregator, "extra_body", None) or {}), **extra}
    return arguments


async def _events(
    chunks: AsyncGenerator[AIMessageChunk | None], form: AnswerForm, seen: Exchange
) -> AsyncGenerator[bytes]:
    """Yield the stream's events. An error after the first event is sent as the last one.

    Raises:
        Exception: Any error before the first event.
    """
    is_begun = False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if events := form.idle() if chunk is None else form.delta(chunk):
                    if chunk is not None:
                        seen.began()
                    is_begun = True
                    yield events
        seen.answered(form.account)
        yield form.end()
    except Exception as error:
        if not is_begun:
            raise
        yield form.failed(seen.failed(error))
