"""Apps that are served for real, on loopback, by a uvicorn in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_moa import ChatMoA
from langchain_moa.server.app import create_app
from langchain_moa.server.served import Served
from tests.fakes import ScriptedChatModel

HELLO = {"model": "moa-1", "messages": [{"role": "user", "content": "Hello?"}]}


@contextmanager
def running(app: ASGIApp, server: uvicorn.Server | None = None) -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off", timeout_graceful_shutdown=2)
        server = server or uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


class Apps(dict[str, ASGIApp]):
    """The apps of all tests behind one server, for starting and stopping one takes longer than most tests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self[Headers(scope=scope)["x-app"]](scope, receive, send)


@pytest.fixture(scope="session")
def apps() -> Iterator[tuple[Apps, httpx.URL]]:
    apps = Apps()
    with running(apps) as client:
        yield apps, client.base_url


@pytest.fixture
def serve(apps: tuple[Apps, httpx.URL]) -> Iterator[Callable[..., httpx.Client]]:
    """Serve a mixture as `moa-1`: `serve(model, **options_of_create_app)` returns a client of it."""
    served, url = apps

    def start(model: ChatMoA | None = None, **options: Any) -> httpx.Client:
        name = str(len(served))
        served[name] = create_app(Served({"moa-1": model or mixture()}), **options)
        return clients.enter_context(httpx.Client(base_url=url, headers={"x-app": name}, timeout=30, trust_env=False))

    with ExitStack() as clients:
        yield start


def mixture(*, aggregator: ScriptedChatModel | None = None, proposer: ScriptedChatModel | None = None) -> ChatMoA:
    return ChatMoA(
        proposers=[proposer or ScriptedChatModel(reply="A proposal.", model_name="proposer")],
        aggregator=aggregator or ScriptedChatModel(reply="The whole answer.", model_name="writer"),
        include_references=True,
    )
