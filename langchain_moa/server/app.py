"""The ASGI app: routes and their middleware."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import TypeGuard

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route

from langchain_moa.server.admission_queue import AdmissionQueue
from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.closing import Closing
from langchain_moa.server.completions import ChatCompletions
from langchain_moa.server.ignored import IGNORED_HEADER
from langchain_moa.server.metrics import Metrics
from langchain_moa.server.middleware.admission import Admit
from langchain_moa.server.middleware.auth import RequireKey
from langchain_moa.server.middleware.disconnects import CancelWhenGone
from langchain_moa.server.middleware.observing import Observe
from langchain_moa.server.openapi import document
from langchain_moa.server.page import page_routes
from langchain_moa.server.responses_api.endpoint import Responses
from langchain_moa.server.served import Served

# What to use in place of other APIs, by their path.
_LITELLM = "put LiteLLM's proxy in front: https://docs.litellm.ai/docs/simple_proxy"
_INSTEAD = {
    "completions": " Send the prompt to /v1/chat/completions, as messages of one user message.",
    "messages": f" For clients of Anthropic's Messages API, {_LITELLM}.",
    "embeddings": f" Mixtures have no embeddings; for one address of several APIs, {_LITELLM}.",
}

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

# OpenAI's API wants one for each model; a line-up has none to the second.
_CREATED = int(time())


def create_app(
    served: Served | None = None,
    *,
    api_key: str | None = None,
    allow_overrides: bool = False,
    max_calls: int = 64,
    allow_origins: Sequence[str] = (),
    max_concurrency: int = 64,
    max_queue: int = 256,
    queue_timeout: float = 60,
    max_request_bytes: int = 20_000_000,
    keep_alive: float = 10,
) -> Starlette:
    """Create the ASGI app. It needs no lifespan, so it can be mounted in another app.

    All middleware is attached per route, so that routes and errors of a surrounding app are not affected.

    Args:
        served: The mixtures to serve, by name. Default: the line-ups, and `moa-1` for the default line-up.
        api_key: The key required as `Authorization: Bearer …`, except for the web page itself, `/health`,
            `/healthz` and `/openapi.json`. Default: no key.
        allow_overrides: Let requests change the mixture: proposers, aggregator, time limits. Clients can then use any
            model that this process has a key for.
        max_calls: Model calls that one request may make with a mixture of its own choice.
        allow_origins: Web origins that are allowed to call from a browser (CORS), or `*`. Default: none.
        max_concurrency: Requests answered at the same time. Each makes as many upstream calls as the mixture has
            members.
        max_queue: Requests that may wait in the queue; more get status 503.
        queue_timeout: Maximum seconds in the queue; then the request gets status 503.
        max_request_bytes: Maximum size of a request body in bytes; larger ones get status 413.
        keep_alive: Seconds between keep-alive comments in an idle stream, so that no proxy closes it. Errors before the
            first one are sent with their HTTP status, later ones as an event in the stream.
    """
    served = served or Served()
    queue = AdmissionQueue(max_concurrency=max_concurrency, max_queue=max_queue, queue_timeout=queue_timeout)
    metrics, closing = Metrics(queue), Closing()
    keyed = [Middleware(Observe, metrics=metrics), Middleware(RequireKey, api_key=api_key)]
    answering = [
        *keyed,
        Middleware(CancelWhenGone, max_bytes=max_request_bytes, closing=closing),
        Middleware(Admit, queue=queue),
    ]
    completions = ChatCompletions(
        served, allow_overrides=allow_overrides, max_calls=max_calls, keep_alive=keep_alive, closing=closing
    )
    responses = Responses(completions, allow_overrides=allow_overrides)
    description = JSONResponse(document(allow_overrides=allow_overrides))
    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", completions.create, methods=["POST"], middleware=answering),
        Route("/v1/responses", responses.create, methods=["POST"], middleware=answering),
        Route("/v1/models", _list_models, middleware=keyed),
        Route("/v1/models/{name:path}", _retrieve_model, middleware=keyed),
        Route("/v1/{path:path}", _unknown, methods=_METHODS, middleware=keyed),
        Route("/metrics", _metrics, middleware=keyed),
        Route("/health", _health),
        Route("/healthz", _health),
        Route("/openapi.json", lambda _: description),
    ]
    routes += [_guard(route, answering) if _costs_money(route) else route for route in page_routes()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_served})
    # The redirect of `/metrics/` would go to whatever host the request names.
    app.router.redirect_slashes = False
    if allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(allow_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", IGNORED_HEADER],
        )
    app.state.served = served
    app.state.metrics = metrics
    app.state.closing = closing
    return app


def _costs_money(route: BaseRoute) -> TypeGuard[Route]:
    return isinstance(route, Route) and route.path == "/inside"


def _guard(route: Route, middleware: Sequence[Middleware]) -> Route:
    """Wrap a route in middleware, as `Route` does."""
    for item in reversed(middleware):
        route.app = item.cls(route.app, *item.args, **item.kwargs)
    return route


async def _list_models(request: Request) -> Response:
    """List the served models."""
    names = request.app.state.served.names()
    return JSONResponse({"object": "list", "data": [_model(name) for name in names]})


async def _retrieve_model(request: Request) -> Response:
    """Return one served model, or raise `UnknownModelError`."""
    name = request.path_params["name"]
    request.app.state.served.resolve(name)
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "langchain-moa"}


def _metrics(request: Request) -> Response:
    # Not a coroutine, so that it runs in a thread: some metrics are read from files.
    exposition = request.app.state.metrics.exposition()
    return Response(exposition, media_type="text/plain; version=0.0.4")


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_served(_: Request, error: Exception) -> Response:
    """Tell Starlette's own errors, such as of files that are not there, in OpenAI's shape too."""
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, error.detail, headers=error.headers).response()


async def _unknown(request: Request) -> Response:
    place = f"{request.method} {request.url.path}"
    others = {route.matches(request.scope)[0]: route for route in request.app.routes if isinstance(route, Route)}
    if other := others.get(Match.PARTIAL):
        allowed = ", ".join(sorted(other.methods or ()))
        raise ApiError(405, f"There is no {place}; this path takes {allowed}.", headers={"allow": allowed})
    instead = _INSTEAD.get(request.path_params["path"].partition("/")[0], "")
    available = "available are POST /v1/chat/completions, POST /v1/responses and GET /v1/models."
    raise ApiError(404, f"Unknown endpoint {place}; {available}{instead}")
