import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from langchain_moa import ChatMoA
from langchain_moa.server import body
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.server.conftest import HELLO, mixture


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def upstream(together, gate):
    """A server of two proposers, which answer at once, and an aggregator, which waits."""
    server = together({"x/a": "A.", "x/b": "B.", "x/c": Reply(text="One two three", gate=gate)})
    return server, ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c")


def post(client, **fields):
    return client.post("/v1/chat/completions", json={**HELLO, **fields})


def waiting(server, model="x/c", calls=1):
    """Wait until so many requests are with a model."""
    server.wait_for(lambda: sum(body["model"] == model for body in server.requests) == calls)


def gauge(client, name):
    return float(next(x for x in client.get("/metrics").text.splitlines() if x.startswith(f"{name} ")).split()[1])


def test_a_request_that_is_too_large_is_refused(serve):
    client = serve(max_request_bytes=2000)
    headers = {"content-type": "application/json"}
    for content in (b" " * 2001, iter([b" " * 2000, b" "])):
        response = client.post("/v1/chat/completions", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["message"] == "The request is larger than 2000 bytes, this server's limit."
    assert post(client).status_code == 200


def test_a_body_that_comes_too_slowly_is_refused(serve, monkeypatch):
    monkeypatch.setattr(body, "_SECONDS", 0.05)
    client = serve()
    released = threading.Event()

    def slowly():
        yield b"{"
        released.wait()
        yield b"}"

    with ThreadPoolExecutor(1) as pool:
        headers = {"content-type": "application/json"}
        answer = pool.submit(client.post, "/v1/chat/completions", content=slowly(), headers=headers)
        while 'status="408"' not in client.get("/metrics").text:
            pass
        released.set()
        assert answer.result().status_code == 408
        assert answer.result().json()["error"]["message"] == "The request's body took longer than 0.05 seconds."


def test_too_many_requests_wait_and_more_are_turned_away(serve, upstream, gate):
    server, model = upstream
    client = serve(model, max_concurrency=1, max_queue=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client)
        waiting(server)
        second = pool.submit(post, client)
        while not gauge(client, "moa_requests_queued"):
            pass
        assert gauge(client, "moa_requests_in_flight") == 1
        third = post(client)
        assert third.status_code == 503
        assert third.headers["retry-after"] == "1"
        assert third.json()["error"]["code"] == "overloaded"
        assert server.peak <= 2
        gate.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
    assert len(server.requests) == 6


def test_a_request_does_not_wait_for_ever(serve, upstream, gate):
    server, model = upstream
    client = serve(model, max_concurrency=1, queue_timeout=0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client)
        waiting(server)
        late = post(client)
        assert late.status_code == 503
        assert "the request waited 0.05 seconds in the queue" in late.json()["error"]["message"]
        gate.set()
        assert first.result().status_code == 200


@contextmanager
def impatient(client, asked):
    """Send a request, and go away without its answer."""
    host, port = client.base_url.host, client.base_url.port
    content = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    head += f"x-app: {client.headers['x-app']}\r\n"
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        yield


@pytest.mark.parametrize("model_waiting", ["x/a", "x/c"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_goes_away_takes_all_calls_with_it(serve, together, gate, stream, model_waiting):
    replies = {"x/a": "A.", "x/b": "B.", "x/c": "One two three."}
    server = together({**replies, model_waiting: Reply(text="One two", gate=gate)})
    client = serve(ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c"), keep_alive=0.01)
    with impatient(client, {**HELLO, "stream": stream}):
        waiting(server, model_waiting)
    server.wait_for(lambda: model_waiting in server.closed_by_client)
    server.wait_for(lambda: server.in_flight == 0)
    while gauge(client, "moa_requests_in_flight"):
        pass
    assert 'moa_requests_total{model="moa-1",status="499"} 1.0' in client.get("/metrics").text


def test_a_client_that_goes_away_in_the_middle_of_an_answer_ends_it(serve, upstream):
    server, model = upstream
    with serve(model).stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}) as response:
        first = next(response.iter_lines())
        assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "One"
    server.wait_for(lambda: server.closed_by_client == ["x/c"])


def test_a_client_that_goes_away_while_it_waits_is_never_asked_for(serve, upstream, gate):
    server, model = upstream
    client = serve(model, max_concurrency=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client)
        waiting(server)
        with impatient(client, HELLO):
            while not gauge(client, "moa_requests_queued"):
                pass
        while gauge(client, "moa_requests_queued"):
            pass
        gate.set()
        assert first.result().status_code == 200
    assert post(client).status_code == 200
    assert len(server.requests) == 6


def test_an_answer_that_fails_makes_room_for_the_next(serve):
    client = serve(mixture(aggregator=ScriptedChatModel(error=ConnectionError("gone"))), max_concurrency=1, max_queue=0)
    assert [post(client).status_code for _ in range(3)] == [502, 502, 502]
