"""Who leaves is noticed at once: one second later nothing runs upstream, and no task, thread or descriptor is left.

The providers, in a process of their own, send answers that never end. A busy machine's lateness is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA, ProposersFailedError
from langchain_moa._models.factory import build_model
from langchain_moa.exceptions import DeadlineError
from tests.benchmarks.hostile_server import HostileServer
from tests.integration_tests.test_server import Served, serving
from tests.lateness import Lateness
from tests.threads_in_use import threads_in_use

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc"),
]

AFTERWARDS = 1.0
"""Seconds after which nothing may be left."""
CLIENTS = 200
DEADLINE = 0.6
TOLERANCE = 0.25
"""Seconds by which a call may miss its deadline."""

PACES = (0, 1, 20, 200)
"""Milliseconds between two tokens."""
KINDS = ("string", "object")


def each_pair(names: str, cases: Sequence[tuple[str, ...]]) -> pytest.MarkDecorator:
    """Have each case at each pace, with the kinds in turn, so that each kind has each case and each pace."""
    values = [
        pytest.param(kind, apart, *case, id="-".join([kind, *case, f"{apart} ms"]))
        for row, case in enumerate(cases)
        for column, apart in enumerate(PACES)
        for kind in [KINDS[(row + column) % len(KINDS)]]
    ]
    return pytest.mark.parametrize(names, values)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture(scope="module")
def runner(server: HostileServer) -> Iterator[asyncio.Runner]:
    """One event loop for all: the client of a `ChatOpenAI` belongs to the first one that it sees."""
    with asyncio.Runner() as running:
        yield running
        for fault in ("none", *(f"every {apart}" for apart in PACES)):
            running.run(build(server, "object", fault).root_async_client.close())


@pytest.fixture
def lateness() -> Iterator[Lateness]:
    with Lateness() as measured:
        yield measured


def build(server: HostileServer, kind: str, fault: str = "none") -> BaseChatModel:
    name, url = f"lab/m~{fault}~leaving", server.url(fault)
    if kind == "object":
        return ChatOpenAI(model=name, base_url=url, api_key="k", timeout=60, max_retries=0)
    return build_model(name, temperature=None, max_tokens=None, timeout=60, base_url=url, api_key="k")


def mixture(server: HostileServer, kind: str, place: str, apart: int, **options: Any) -> ChatMoA:
    """Return a mixture in which the model at one place writes without an end."""
    endless, good = build(server, kind, f"every {apart}"), build(server, kind)
    proposers = [good, endless if place == "proposer" else good]
    return ChatMoA(proposers=proposers, aggregator=endless if place == "aggregator" else good, timeout=60, **options)


def descriptors(process: int, *, but_to: int | None) -> int:
    """Return how many descriptors a process has, beside open connections to a port."""
    files = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has been closed meanwhile
            files.append(os.readlink(file))
    rows = [line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
    connections = {
        f"socket:[{inode}]"
        for _, _, remote, state, *_, inode in (row[:10] for row in rows)
        if state == _ESTABLISHED and int(remote.partition(":")[2], 16) == but_to
    }
    return sum(file not in connections for file in files)


_ESTABLISHED = "01"


class Held:
    """What the process holds beside idle connections and threads."""

    def __init__(self, server: HostileServer, served: int | None = None) -> None:
        """Count what this process holds, or one that serves, by its id."""
        self._server = server
        self._served = served
        self._before: dict[str, int] = {}
        self._before = self.now()

    def now(self) -> dict[str, int]:
        """Return what it holds more than at first."""
        state = self._server.state()
        if self._served:
            pool = min(32, (os.cpu_count() or 1) + 4)  # of `asyncio.to_thread`, which grows as needed
            count = len(os.listdir(f"/proc/{self._served}/task")) - (pool if self._before else 0)
        else:
            count = len(threads_in_use())
        held = {
            "requests": sum(state["in_flight"].values()),
            "threads": count,
            "descriptors": descriptors(self._served or os.getpid(), but_to=httpx.URL(self._server.url("none")).port),
        }
        return {what: more for what, n in held.items() if (more := n - self._before.get(what, 0)) > 0}

    def is_upstream(self) -> bool:
        """Return whether a request is being answered."""
        return bool(self._server.state()["in_flight"])


async def in_loop(look: Callable[[], Any]) -> Any:
    """Return what is held while the loop still runs, for its end would close everything; and its other tasks."""
    held = await asyncio.to_thread(look)
    others = len(asyncio.all_tasks()) - 1
    return {**held, "tasks": others} if others else held


async def await_nothing(look: Callable[[], Any], lateness: Lateness, since: float) -> Any:
    late = lateness.seconds
    while (found := await in_loop(look)) and monotonic() - since - (lateness.seconds - late) < AFTERWARDS:
        await asyncio.sleep(0.01)
    return found


async def read(model: ChatMoA) -> None:
    async for _ in model.astream("Go."):
        pass


async def read_a_token(model: ChatMoA) -> None:
    async with aclosing(model.astream("Go.")) as chunks:
        async for chunk in chunks:
            if chunk.text:
                return


def warm(server: HostileServer, kind: str) -> None:
    """Let there be what stays: imports, the loop of sync callers, idle connections."""
    model = ChatMoA(proposers=[build(server, kind)], aggregator=build(server, kind))
    model.invoke("Go.")
    list(model.stream("Go."))


@each_pair(
    "kind, apart, place, way",
    [
        ("aggregator", "ainvoke"),
        ("aggregator", "astream"),
        ("aggregator", "astream, closed"),
        ("proposer", "ainvoke"),
        ("proposer", "astream"),
    ],
)
def test_an_async_caller_that_leaves(server, runner, lateness, kind, apart, place, way):
    warm(server, kind)
    model = mixture(server, kind, place, apart)

    async def leave() -> Any:
        held = Held(server)
        if way == "astream, closed":
            await read_a_token(model)
            return await await_nothing(held.now, lateness, monotonic())
        asking = asyncio.ensure_future(model.ainvoke("Go.") if way == "ainvoke" else read(model))
        while not await asyncio.to_thread(held.is_upstream):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # in the midst of it
        since = monotonic()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        return await await_nothing(held.now, lateness, since)

    assert not runner.run(leave())


@each_pair("kind, apart, way", [("ainvoke",), ("astream",)])
def test_an_async_call_that_is_ended_by_its_deadline(server, runner, lateness, kind, apart, way):
    warm(server, kind)
    model = mixture(server, kind, "aggregator", apart, deadline=DEADLINE)

    async def ask() -> Any:
        await build(server, kind).ainvoke("Go.")  # the loop's client
        held, started, late = Held(server), monotonic(), lateness.seconds
        with pytest.raises(DeadlineError):
            await (model.ainvoke("Go.") if way == "ainvoke" else read(model))
        since = monotonic()
        assert since - started - (lateness.seconds - late) < DEADLINE + TOLERANCE
        return await await_nothing(held.now, lateness, since)

    assert not runner.run(ask())


@pytest.mark.parametrize("apart", [PACES[0], PACES[-1]], ids=lambda apart: f"{apart} ms")
@pytest.mark.parametrize(
    ("kind", "place", "way"),
    [
        ("string", "aggregator", "invoke"),
        ("string", "aggregator", "stream"),
        ("string", "proposer", "invoke"),
        ("string", "proposer", "stream"),
        # No thread can be woken that reads a whole answer with the client of a model object.
        ("object", "aggregator", "stream"),
    ],
)
def test_a_sync_call_that_is_ended_by_its_deadline(server, lateness, kind, apart, place, way):
    warm(server, kind)
    model = mixture(server, kind, place, apart, deadline=DEADLINE)
    held, started, late = Held(server), monotonic(), lateness.seconds
    try:
        model.invoke("Go.") if way == "invoke" else list(model.stream("Go."))
    except (DeadlineError, ProposersFailedError):
        pass  # where a machine is late, also of a proposer that is closed in time
    else:
        assert place == "proposer"  # the others' answers will do
    since = monotonic()
    assert since - started - (lateness.seconds - late) < DEADLINE + TOLERANCE
    left, _ = lateness.wait(held.now, AFTERWARDS, since)
    assert not left


@each_pair("kind, apart", [()])
def test_a_sync_caller_that_leaves_a_stream(server, lateness, kind, apart):
    warm(server, kind)
    held = Held(server)
    chunks = mixture(server, kind, "aggregator", apart).stream("Go.")
    next(chunk for chunk in chunks if chunk.text)
    chunks.close()
    left, _ = lateness.wait(held.now, AFTERWARDS, monotonic())
    assert not left


async def longest_turn() -> float:
    """Return how long the event loop may take until it comes to somebody: what arrives keeps it busy."""
    turns = []
    for _ in range(5):
        started = monotonic()
        await asyncio.sleep(0)
        turns.append(monotonic() - started)
    return max(turns)


@pytest.mark.parametrize("apart", [20, 200], ids=lambda apart: f"{apart} ms")
def test_two_hundred_async_callers_that_leave_at_once(server, runner, lateness, apart):
    warm(server, "string")
    model = mixture(server, "string", "aggregator", apart)

    async def leave() -> Any:
        await build(server, "string").ainvoke("Go.")
        held = Held(server)
        asking = [asyncio.create_task(read(model)) for _ in range(CLIENTS)]
        while (await asyncio.to_thread(server.state))["in_flight"].get("leaving", 0) < CLIENTS:
            await asyncio.sleep(0.05)
        turn = await longest_turn()
        since = monotonic()
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        return await await_nothing(held.now, lateness, since + turn)

    assert not runner.run(leave())


class Clients:
    """Clients of `moa serve`, on connections of their own."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def ask(self, *, stream: bool, **options: Any) -> bytes:
        """Ask, and return the answer without its headers."""
        asked = {"model": "moa-1", "messages": [{"role": "user", "content": "Go."}], "stream": stream, **options}
        return await self._send("POST /v1/chat/completions", json.dumps(asked))

    async def latency(self) -> float:
        """Return the seconds that the server takes to answer anything, as busy as it is."""
        started = monotonic()
        await self._send("GET /healthz")
        return monotonic() - started

    async def _send(self, what: str, body: str = "") -> bytes:
        url = httpx.URL(self._served.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            lines = [f"{what} HTTP/1.1", f"Host: {url.host}", "Connection: close"]
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
            writer.write("\r\n".join(lines).encode())
            return (await reader.read()).partition(b"\r\n\r\n")[2]
        finally:
            writer.transport.abort()


def served(server: HostileServer, apart: int, *options: str) -> AbstractContextManager[Served]:
    models = ["--reference-models", "lab/m~none~leaving", "--aggregator", f"lab/m~every {apart}~leaving"]
    environment = {"TOGETHER_API_BASE": server.url("none"), "TOGETHER_API_KEY": "k"}
    return serving(*models, "--max-concurrency", "1000", *options, **environment)


@pytest.mark.parametrize(
    ("apart", "clients", "stream"),
    # 200 streams at 20 ms would be 10,000 tokens a second, of which a server has a backlog before anybody leaves.
    [(0, 1, True), (200, 1, False), (200, CLIENTS, True), (200, CLIENTS, False)],
    ids=["a stream at 0 ms", "a whole answer at 200 ms", "200 streams at 200 ms", "200 whole answers at 200 ms"],
)
def test_clients_that_leave_moa_serve(server, runner, lateness, apart, clients, stream):
    async def leave(running: Served) -> tuple[Any, float]:
        asked = Clients(running)

        async def all_ask(number: int) -> float:
            asking = [asyncio.create_task(asked.ask(stream=stream)) for _ in range(number)]
            while (await asyncio.to_thread(server.state))["in_flight"].get("leaving", 0) < number:
                assert not [one for one in asking if one.done()]
                await asyncio.sleep(0.05)
            latency = await asked.latency()
            since = monotonic()
            for one in asking:
                one.cancel()
            await asyncio.wait(asking)
            return since + latency

        await all_ask(20)  # so that there is what stays
        while (await asyncio.to_thread(server.state))["in_flight"]:
            await asyncio.sleep(0.05)
        held = Held(server, running.process.pid)
        since = await all_ask(clients)
        others = [server.pid, running.process.pid]
        return await asyncio.to_thread(lateness.wait, held.now, AFTERWARDS, since, others)

    with served(server, apart) as running:
        left, _ = runner.run(leave(running))
    assert not left


@pytest.mark.parametrize(("apart", "stream"), [(0, True), (200, False)], ids=["a stream at 0 ms", "whole at 200 ms"])
def test_moa_serve_keeps_a_deadline(server, runner, lateness, apart, stream):
    async def ask(running: Served) -> tuple[bytes, float, Any]:
        asked = Clients(running)
        warming = asyncio.create_task(asked.ask(stream=stream, deadline=DEADLINE))
        while not (await asyncio.to_thread(server.state))["in_flight"]:
            await asyncio.sleep(0.01)
        latency = await asked.latency()
        await warming
        held, started, late = Held(server, running.process.pid), monotonic(), lateness.seconds
        said = await asked.ask(stream=stream, deadline=DEADLINE)
        since = monotonic()
        took = since - started - (lateness.seconds - late) - latency
        others = [server.pid, running.process.pid]
        left, _ = await asyncio.to_thread(lateness.wait, held.now, AFTERWARDS, since, others)
        return said, took, left

    with served(server, apart, "--allow-overrides") as running:
        said, took, left = runner.run(ask(running))
    assert b"deadline of 0.6 seconds" in said
    assert took < DEADLINE + TOLERANCE
    assert not left
