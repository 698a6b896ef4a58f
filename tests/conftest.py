"""Fixtures of all tests."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from langchain_moa._runtime import threads
from tests.openai_server import OpenAIServer

Ask = Callable[..., AIMessage]


def _invoke(model: Runnable[Any, Any], question: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return model.invoke(question, config, **kwargs)


def _ainvoke(model: Runnable[Any, Any], question: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return asyncio.run(model.ainvoke(question, config, **kwargs))


def _stream(model: Runnable[Any, Any], question: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return reduce(add, model.stream(question, config, **kwargs))


def _astream(model: Runnable[Any, Any], question: Any, config: Any = None, /, **kwargs: Any) -> Any:
    async def collect() -> list[Any]:
        return [chunk async for chunk in model.astream(question, config, **kwargs)]

    return reduce(add, asyncio.run(collect()))


@pytest.fixture(params=[_invoke, _ainvoke, _stream, _astream], ids=lambda ask: ask.__name__[1:])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask a model in each of the four ways."""
    return request.param


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C reach the programs under test: they inherit that it is ignored (a background job, some CI runners)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's keys and tracing out of the tests."""
    for name in ("TOGETHER_API_KEY", "TOGETHER_API_BASE", "OPENAI_API_KEY", "LANGCHAIN_MOA_GGUF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture(autouse=True)
def _no_idle_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads end soon after their work, so that a test sees which are left behind."""
    monkeypatch.setattr(threads, "_KEPT_SECONDS", 0.05)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OpenAIServer]]:
    """Start servers that stand in for Together: `together(answer)`."""
    servers: list[OpenAIServer] = []

    def start(answer: Any = None, **options: Any) -> OpenAIServer:
        server = OpenAIServer(answer, **options).__enter__()
        servers.append(server)
        monkeypatch.setenv("TOGETHER_API_BASE", server.url)
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)
