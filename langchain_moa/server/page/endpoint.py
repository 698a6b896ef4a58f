"""The page's API `/inside`: the members of a mixture, and an answer as a stream of progress events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from langchain_moa.chat_models import ChatMoA
from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.exchange import Exchange, exchange
from langchain_moa.server.page.prompt import PromptListener
from langchain_moa.server.page.watching import Event, structure, watch
from langchain_moa.server.requests import Completion, parse
from langchain_moa.server.served import DEFAULT, Served
from langchain_moa.server.streaming import KEEP_ALIVE, EventStream, to_event, with_keep_alive

_KEEP_ALIVE_SECONDS = 10


async def describe(request: Request) -> Response:
    """Return the members of a mixture: `GET /inside?model=NAME`."""
    model = await _find(request, request.query_params.get("model", DEFAULT))
    return JSONResponse(structure(model))


async def ask(request: Request) -> Response:
    """Stream one answer: `POST /inside` with `{model, messages}`."""
    asked = await _parse(request)
    messages = asked.conversation()
    model = await _find(request, asked.model)
    seen = exchange(request)
    seen.is_stream = True
    happenings = with_keep_alive(watch(model, messages), _KEEP_ALIVE_SECONDS, closing=request.app.state.closing)
    events = _encoded(happenings, seen)
    return EventStream(await anext(events), events)


async def _parse(request: Request) -> Completion:
    asked = parse(await request.body(), request.headers, allow_overrides=False)
    if others := sorted(asked.model_fields_set - {"model", "messages"}):
        text = (
            f"{', '.join(others)}: only model and messages are supported here; POST /v1/chat/completions supports more."
        )
        raise ApiError(400, text, code="unsupported_parameter", param=others[0])
    return asked


async def _find(request: Request, name: str) -> ChatMoA:
    """Return the mixture as the page shows it. It may have to be built, in a thread."""
    served: Served = request.app.state.served
    exchange(request).model = served.resolve(name)
    model = await asyncio.to_thread(served.model, name)
    shown = {"include_references": True, "inner_handlers": (*model.inner_handlers, PromptListener)}
    return await asyncio.to_thread(served.variant, name, shown)


async def _encoded(events: AsyncGenerator[Event | None], seen: Exchange) -> AsyncGenerator[bytes]:
    """Encode the events; an error is sent as the last one."""
    try:
        async with aclosing(events):
            async for event in events:
                if event is None:
                    yield KEEP_ALIVE
                    continue
                if event["event"] == "token":
                    seen.began()
                elif event["event"] == "end":
                    seen.answered(event["moa"])
                yield to_event(event)
    except Exception as error:
        yield to_event({"event": "error", **seen.failed(error).body()})
