"""Hundreds of clients that go away at once leave nothing behind at `moa serve`."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration_tests.test_server import MIXTURE, QUESTION, Served, serving
from tests.openai_server import OpenAIServer, Reply

CLIENTS = 500

# Seconds. One is enough, but not on a machine that is busy with other tests.
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """Allow this process both ends of so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Where a client is when it leaves: with the proposers, at the answer's first token, amid tokens.
REPLIES = {
    "proposers": {"x/a": Reply(fault="hang"), "x/b": Reply(fault="hang"), "x/c": "never"},
    "aggregator": {"x/a": "A.", "x/b": "B.", "x/c": Reply(text="begun", fault="stall", fault_after=1)},
    "tokens": {"x/a": "A.", "x/b": "B.", "x/c": Reply(text="word " * 500, token_delay=0.5)},
}


def leave(served: Served, body: dict, until: Callable[[], object]) -> float:
    """Have all clients ask, and at a time go away. Return when the last was gone."""
    address = urlsplit(served.url)
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
    with ExitStack() as clients:
        for _ in range(CLIENTS):
            client = clients.enter_context(socket.create_connection((address.hostname, address.port)))
            client.sendall(request)
        until()
    return time.monotonic()


def gauge(served: Served, name: str) -> float:
    lines = httpx.get(f"{served.url}/metrics", trust_env=False, timeout=30).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"moa_requests_{name} ")).split()[1])


@pytest.mark.parametrize(
    ("place", "stream"),
    [("proposers", False), ("aggregator", True), ("tokens", True)],
)
def test_no_call_goes_on_for_clients_that_have_left(place, stream):
    # 64 are answered, 256 wait, and the others are turned away.
    asked = 64 * (2 if place == "proposers" else 3)
    body = {"model": "moa-1", "messages": QUESTION, "stream": stream}
    with OpenAIServer(REPLIES[place]) as upstream, serving(*MIXTURE, upstream=upstream) as served:
        for _ in range(2):
            upstream.reset()
            left = leave(served, body, lambda: upstream.wait_for(lambda: len(upstream.requests) == asked))
            upstream.wait_for(lambda: upstream.in_flight == 0, PATIENCE)
            print(f"{place}, {stream=}: 0 calls after {time.monotonic() - left:.2f} s")
            while gauge(served, "in_flight") or gauge(served, "queued"):
                assert time.monotonic() < left + PATIENCE
            assert upstream.in_flight == 0  # nor was anybody asked for those who had waited
