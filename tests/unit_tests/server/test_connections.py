"""Clients that hold connections open, or send what a proxy in front may read in another way: raw sockets, and the web
server of `moa serve`."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from langchain_moa.cli.commands.serve import _refuse_other_hosts
from langchain_moa.server import connection
from langchain_moa.server.app import create_app
from langchain_moa.server.logs import JsonFormatter
from langchain_moa.server.served import Served
from langchain_moa.server.serving import create_server
from tests.fakes import ScriptedChatModel
from tests.unit_tests.server.conftest import HELLO, mixture, running

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
SOON = 0.3


@pytest.fixture
def serve() -> Iterator:
    with ExitStack() as servers:

        def start(model=None, *, write_timeout=60, **options):
            app = create_app(Served({"moa-1": model or mixture()}), **options)
            return servers.enter_context(running(app, create_server(app, write_timeout=write_timeout)))

        yield start


@pytest.fixture
def connect(serve):
    """Connect to a server, `connect(client)`, with a socket that waits for an answer, but not for ever."""
    with ExitStack() as sockets:

        def connect(client, *, receive_bytes=None):
            connected = sockets.enter_context(socket.socket())
            if receive_bytes:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connected.settimeout(60)
            connected.connect((client.base_url.host, client.base_url.port))
            return connected

        yield connect


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(connection, "_HEAD_SECONDS", SOON)


def post(**fields):
    content = json.dumps({**HELLO, **fields}).encode()
    return HEAD + f"content-length: {len(content)}\r\n\r\n".encode() + content


def all_of(connected):
    """Read until the server hangs up."""
    said = b""
    try:
        while part := connected.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


def test_requests_are_answered_one_after_the_other_on_one_connection(serve, connect):
    connected = connect(serve())
    for _ in range(3):
        connected.sendall(post())
        said = b""
        while b"The whole answer." not in said:
            said += connected.recv(65_536)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")


HALVES = {
    "nothing": b"",
    "a part of the first line": b"POST /v1/ch",
    "headers without an end": HEAD,
    "a second request without an end": GET + b"\r\n" + HEAD,
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_half_a_request_is_not_waited_for(serve, connect, hasty, half):
    connected = connect(serve())
    connected.sendall(half)
    if half.startswith(GET):
        assert b'{"status":"ok"}' in connected.recv(65_536)
        connected.sendall(b"x: y\r\n")
    assert b'{"status":"ok"}' not in all_of(connected)


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
def test_a_client_that_drips_does_not_gain_time(serve, connect, hasty, path):
    client = serve()
    sent = 0
    for start in (
        f"GET {path} HTTP/1.1\r\nx: ",
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n\r\n",
    ):
        connected = connect(client)
        connected.sendall(start.encode())
        with pytest.raises(OSError):  # the connection was closed or reset
            while True:
                connected.sendall(b"x")
                sent += 1
                threading.Event().wait(0.02)
        assert sent < 1000


def test_many_halves_are_all_let_go(serve, connect, monkeypatch):
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 1.0)
    client = serve()
    halves = [connect(client) for _ in range(300)]
    for half in halves:
        half.sendall(HEAD)
    assert client.get("/health").status_code == 200
    assert [all_of(half) for half in halves] == [b""] * 300


SMUGGLED = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
INVALID = b"Invalid HTTP request received."
BOTH = b"It has both Content-Length and Transfer-Encoding."
TWO_WAYS = {
    "both lengths": ([b"content-length: 6", b"transfer-encoding: chunked"], BOTH),
    "both, the other way round": ([b"transfer-encoding: chunked", b"content-length: 6"], BOTH),
    "both, folded": ([b"x: y\r\n z", b"transfer-encoding:\r\n\tchunked", b"content-length: 5"], BOTH),
    "two lengths": ([b"content-length: 5", b"content-length: 6"], INVALID),
    "a list of lengths": ([b"content-length: 5, 6"], INVALID),
    "a signed length": ([b"content-length: +5"], INVALID),
    "an odd encoding": ([b"transfer-encoding: xchunked"], INVALID),
    "two encodings": ([b"transfer-encoding: chunked", b"transfer-encoding: identity"], INVALID),
    "a blank before the colon": ([b"transfer-encoding : chunked"], INVALID),
}


@pytest.mark.parametrize(("headers", "says"), TWO_WAYS.values(), ids=TWO_WAYS)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_a_request(serve, connect, headers, says):
    connected = connect(serve())
    connected.sendall(b"\r\n".join([HEAD.strip(), *headers, b"", b"0", b"", SMUGGLED]))
    said = all_of(connected)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert says in said
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"moa_requests" not in said


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (b"".join(b"x-%d: y\r\n" % number for number in range(100)), b"more than 100 headers"),
        (b"".join(b"x-%d: y\r\n" % number for number in range(3_000)), b""),
        (b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1000) for number in range(33)), b"larger than 32768 bytes"),
        (b"x: " + b"y" * 70_000 + b"\r\n", b""),
    ],
    ids=["101 headers", "3,000 headers", "33 kB", "one of 70 kB"],
)
def test_too_many_headers_are_refused(serve, connect, headers, says):
    connected = connect(serve())
    connected.sendall(GET + headers + b"\r\n")
    said = all_of(connected)
    assert said.startswith(b"HTTP/1.1 400 ") or not said  # reset, as not all of it was read
    assert says in said or not said


def test_as_many_headers_as_browsers_send_are_taken(serve, connect):
    connected = connect(serve())
    connected.sendall(
        GET
        + b"connection: close\r\n"
        + b"cookie: %b\r\n" % (b"y" * 16_000)
        + b"".join(b"x-%d: y\r\n" % n for n in range(90))
        + b"\r\n"
    )
    assert all_of(connected).startswith(b"HTTP/1.1 200 ")


def test_a_broken_body_after_the_answer_ends_the_connection(serve, connect):
    connected = connect(serve())
    connected.sendall(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
    assert connected.recv(65_536).startswith(b"HTTP/1.1 404 ")
    connected.sendall(b"no chunk\r\n")
    assert b"HTTP/1.1" not in all_of(connected)


class Endless(ScriptedChatModel):
    """Writes as long as somebody reads."""

    written: int = 0
    has_ended: threading.Event = Field(default_factory=threading.Event)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        try:
            while True:
                self.written += 1
                yield ChatGenerationChunk(message=AIMessageChunk("word" * 1000))
                await asyncio.sleep(0)
        finally:
            self.has_ended.set()


def test_a_client_that_reads_nothing_holds_the_model_up_and_is_dropped_in_time(serve, connect):
    writer = Endless()
    client = serve(mixture(aggregator=writer), write_timeout=2, max_concurrency=1, max_queue=0)
    connected = connect(client, receive_bytes=4096)
    connected.sendall(post(stream=True))
    assert writer.has_ended.wait(60)
    # What waits at each place on the way, of 4 kB each, and the system's.
    assert writer.written < 1000
    while "moa_requests_in_flight 0.0" not in client.get("/metrics").text:
        pass
    assert not all_of(connected).endswith(b"\r\n0\r\n\r\n")
    assert 'moa_requests_total{model="moa-1",status="499"} 1.0' in client.get("/metrics").text


def test_a_client_that_reads_no_whole_answer_is_let_go(serve, connect):
    client = serve(mixture(aggregator=ScriptedChatModel(reply="word" * 1_000_000)), write_timeout=1)
    connected = connect(client, receive_bytes=4096)
    connected.sendall(post())
    threading.Event().wait(3)
    assert len(all_of(connected)) < 1_000_000


def test_a_slow_client_is_waited_for(serve, connect):
    client = serve(mixture(aggregator=ScriptedChatModel(reply="word " * 10_000)), write_timeout=1)
    connected = connect(client, receive_bytes=4096)
    connected.sendall(post(stream=True).replace(b"host: ", b"connection: close\r\nhost: ", 1))
    said = b""
    ends_at = time.monotonic() + 4  # longer than the time limit
    while time.monotonic() < ends_at:
        said += connected.recv(4096)
        threading.Event().wait(0.002)
    said += all_of(connected)
    assert said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert said.count(b"word") == 10_000


OTHER_HOSTS = {
    "another": b"evil.example",
    "a name that begins alike": b"localhost.evil.example",
    "an address that begins alike": b"127.0.0.1.evil.example",
    "a name that ends alike": b"evil-localhost",
    "userinfo": b"localhost@evil.example",
    "another, with this port": b"evil.example:80",
    "all addresses": b"0.0.0.0",
    "none": b"",
}


@pytest.mark.parametrize("host", OTHER_HOSTS.values(), ids=OTHER_HOSTS)
@pytest.mark.parametrize("path", [b"/v1/models", b"/inside", b"/", b"/metrics", b"/openapi.json"])
def test_without_a_key_only_this_machines_own_names_are_answered(connect, host, path):
    app = create_app(Served({"moa-1": mixture()}))
    _refuse_other_hosts(app, "127.0.0.1")
    with running(app, create_server(app)) as client:
        connected = connect(client)
        connected.sendall(b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (path, host))
        assert all_of(connected).startswith(b"HTTP/1.1 400 ")


TRAVERSALS = [
    "/page/../endpoint.py",
    "/page/%2e%2e/endpoint.py",
    "/page/..%2fendpoint.py",
    "/page/..%5cendpoint.py",
    "/page/vendor/../../../served.py",
    "/page/vendor/..%2f..%2f..%2fserved.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/%00",
    "/page/index.html%00.js",
    "/page/" + "a" * 5000,
    "/page/" + "a/" * 2000,
    "/page/%ff%fe",
    "/page/.",
    "/page/vendor/",
    "//evil.example/v1/models",
    "/v1/models/..%2f..%2fetc%2fpasswd",
]


@pytest.mark.parametrize("path", TRAVERSALS, ids=lambda path: path[:40])
def test_no_path_leads_to_another_file(serve, connect, path):
    connected = connect(serve())
    connected.sendall(b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % path.encode())
    assert all_of(connected).startswith(b"HTTP/1.1 404 ")


def test_what_attackers_send_is_in_no_log_and_no_metric(serve, connect, caplog):
    caplog.set_level(logging.DEBUG)
    client = serve(api_key="right-key")
    secret = b"se-cret"
    for attack in (
        GET + b"x: " + secret + b"\x00\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 7\r\n\r\n7\r\n" + secret + b"\r\n0\r\n\r\n",
        HEAD + b"authorization: Bearer " + secret + b"\r\ncontent-length: 7\r\n\r\n" + secret,
        HEAD + b"authorization: Bearer right-key\r\ncontent-length: 7\r\n\r\n" + secret,
        b"GET /v1/models?key=" + secret + b" HTTP/1.1\r\nhost: " + secret + b"\r\n\r\n",
        b"GET " + secret + b" HTTP/9\r\n\r\n",
        post(model="se-cret"),
        post(model="se-cret").replace(b"host: ", b"authorization: Bearer right-key\r\nhost: "),
        post(**{"se-cret": 1}).replace(b"host: ", b"authorization: Bearer right-key\r\nhost: "),
    ):
        connected = connect(client)
        connected.sendall(attack.replace(b"host: ", b"connection: close\r\nhost: "))
        assert all_of(connected).startswith(b"HTTP/1.1 4")
    metrics = client.get("/metrics", headers={"authorization": "Bearer right-key"}).text
    assert "se-cret" not in metrics
    assert "right-key" not in metrics
    formatted = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    assert caplog.records
    assert "se-cret" not in formatted
    assert "right-key" not in formatted


def test_a_thousand_made_up_names_make_no_metric(serve):
    client = serve()
    client.get("/metrics")
    before = len(client.get("/metrics").text.splitlines())
    for number in range(200):
        client.post("/v1/chat/completions", json={**HELLO, "model": f"made-up-{number}"})
        client.get(f"/v1/models/made-up-{number}")
        client.get(f"/v1/made-up-{number}", headers={"x-request-id": f"made-up-{number}"})
        client.request(f"MADEUP{number}", "/v1/models")
    after = client.get("/metrics").text.splitlines()
    # One line for each status: 404, and 405.
    assert len(after) - before <= 2 * len([line for line in after if 'status="404"' in line])
    assert "made-up" not in "".join(after).lower().replace("madeup", "made-up")
