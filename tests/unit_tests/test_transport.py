"""What holds for the connections of models that are built from strings: over loopback, with servers that misbehave."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent
from time import monotonic

import openai
import pytest
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA
from langchain_moa._models import transport
from langchain_moa._models.factory import build_model
from langchain_moa._runtime.sync_bridge import LeftBehindError, in_thread
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def build(spec="lab/a", timeout=20.0, **options):
    return build_model(spec, temperature=None, max_tokens=None, timeout=timeout, **options)


class RawServer:
    """Hand every connection, once it has sent a request, to a function of its socket, in a thread."""

    def __init__(self, handle):
        self._handle = handle
        self.accepted = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            self.accepted.release()
            self._handle(connection)
        self.ended.release()


def drip(connection):
    """Send a byte now and then, as long as the client is there."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        threading.Event().wait(0.05)


FORK = """
    import asyncio, os, sys, threading
    from langchain_moa._models.factory import build_model

    model = build_model("lab/echo", temperature=None, max_tokens=None, timeout=20)

    def ask(who):
        for number in range(100):
            question = f"{who} {number}"
            assert model.invoke(question).text == question

    async def aask(who):
        async def one(question):
            assert (await model.ainvoke(question)).text == question
        for start in range(0, 100, 10):
            await asyncio.gather(*(one(f"{who} {number}") for number in range(start, start + 10)))

    WAYS = {"sync": ask, "async": lambda who: asyncio.run(aask(who))}
    before, after = WAYS[sys.argv[1]], WAYS[sys.argv[2]]
    before("warm")
    failures = []
    def work():
        try:
            before("parent")
            before("parent again")
        except BaseException as error:
            failures.append(error)
    busy = threading.Thread(target=work)
    busy.start()
    pid = os.fork()
    if not pid:
        after("child")
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    busy.join()
    assert not failures, failures
    sys.exit(status != 0)
"""


@forks
@pytest.mark.parametrize("after", ["sync", "async"])
@pytest.mark.parametrize("before", ["sync", "async"])
def test_after_a_fork_no_answer_crosses_from_one_process_to_the_other(together, before, after):
    together(lambda body: body["messages"][-1]["content"])
    script = [sys.executable, "-c", dedent(FORK), before, after]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FORK_WHILE_COLLECTING = """
    import gc, os, sys, threading, time, weakref
    import langchain_moa._models.transport

    class Cycle:
        def __init__(self):
            self.itself = self

    class Slow(Cycle):
        def __del__(self):
            begun.set()
            time.sleep(0.2)  # lets other threads run, as closing a socket does

    def is_collected():
        cycle = weakref.ref(Cycle())
        gc.collect()
        return cycle() is None

    begun = threading.Event()
    Slow()
    collecting = threading.Thread(target=gc.collect)
    collecting.start()
    begun.wait()
    if not (pid := os.fork()):
        os._exit(0 if is_collected() and gc.isenabled() else 7)
    _, status = os.waitpid(pid, 0)
    collecting.join()
    assert is_collected() and gc.isenabled()
    gc.disable()
    if not (other := os.fork()):
        os._exit(gc.isenabled())
    sys.exit(os.waitstatus_to_exitcode(status) or os.waitpid(other, 0)[1] or gc.isenabled())
"""


@forks
def test_a_process_forked_while_another_thread_collects_garbage_collects_its_own():
    script = [sys.executable, "-W", "ignore", "-c", dedent(FORK_WHILE_COLLECTING)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_an_async_retry_imports_nothing_that_a_fork_could_leave_half_imported(together):
    together("answer")
    code = """
import sys
from langchain_moa import ChatMoA
model = ChatMoA(proposers=["lab/a"], aggregator="lab/b")
before = set(sys.modules)
import anyio, asyncio
asyncio.run(anyio.sleep(0))  # as the SDK waits before it tries again
assert not [name for name in set(sys.modules) - before if name.startswith("anyio._backends")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


FOREIGN = {
    "together": ("TOGETHER", "lab/a"),
    "deepseek": ("DEEPSEEK", "deepseek:a"),
    "xai": ("XAI", "xai:a"),
}


@pytest.mark.parametrize("provider", FOREIGN)
def test_nothing_about_an_account_at_openai_reaches_another_provider(ask, together, monkeypatch, provider):
    name, spec = FOREIGN[provider]
    if provider != "together":
        pytest.importorskip(f"langchain_{provider}")
    server = together()
    monkeypatch.setenv(f"{name}_API_BASE", server.url)
    monkeypatch.setenv(f"{name}_API_KEY", "their-own")
    for variable in ("ORG_ID", "ORGANIZATION", "PROJECT_ID", "API_KEY", "ADMIN_KEY", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{variable}", "secret-of-openai")
    headers = "X-Gateway: secret-of-openai\nAuthorization: Bearer secret-of-openai\nOpenAI-Project: secret-of-openai"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    for variable in ("BASE_URL", "API_BASE", "PROXY"):
        monkeypatch.setenv(f"OPENAI_{variable}", "http://127.0.0.1:9/secret-of-openai")
    ask(build(spec), "Hi")
    [sent] = server.headers
    assert sent["authorization"] == "Bearer their-own"
    assert "secret-of-openai" not in str(sent)
    assert not {"openai-organization", "openai-project", "x-gateway"} & set(sent)


def test_openais_own_models_keep_what_the_environment_says(ask, together, monkeypatch):
    server = together()
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    ask(build("openai:a"), "Hi")
    assert server.headers[0]["openai-organization"] == "org-1"


def test_openais_proxy_is_used_for_openai(ask, together, monkeypatch):
    proxy = together()
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://openai.invalid/v1")
    monkeypatch.setenv("OPENAI_PROXY", proxy.url.removesuffix("/v1"))
    assert ask(build("openai:a"), "Hi").text == "reply of a"


@pytest.mark.parametrize("fast", [True, False], ids=["1 ms", "50 ms"])
def test_a_canceled_stream_ends_at_once(together, fast):
    server = together({"lab/a": Reply(text="word " * 5000, token_delay=0.001 if fast else 0.05)})
    model = build()

    async def leave():
        async def read():
            async for _ in model.astream("Hi"):
                begun.set()

        for delay in (0.0, 0.001, 0.0015, 0.003, 0.0101):
            begun = asyncio.Event()
            reading = asyncio.create_task(read())
            await begun.wait()
            await asyncio.sleep(delay)
            reading.cancel()
            started = monotonic()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert monotonic() - started < 1

    asyncio.run(leave())
    server.wait_for(lambda: server.in_flight == 0)


def silent(connection):
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("handle", [silent, drip], ids=["silent", "a byte now and then"])
def test_a_sync_call_that_nobody_waits_for_is_ended(monkeypatch, handle):
    with RawServer(handle) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
        model = build(base_url=server.url, timeout=600)
        ended = []

        def ask():
            try:
                model.invoke("Hi")
            except BaseException as error:
                ended.append(type(error))
                done.set()
                raise

        done = threading.Event()

        async def leave():
            asking = asyncio.ensure_future(in_thread(ask))
            await asyncio.to_thread(server.accepted.acquire)
            asking.cancel()
            await asyncio.wait([asking])

        asyncio.run(leave())
        assert done.wait(5)
        assert ended == [LeftBehindError]
        assert server.ended.acquire(timeout=5)  # its connection is closed
        assert not server.accepted.acquire(timeout=1)  # and it is not tried again


async def ask_until(asked, function):
    """Call a function in a thread, and leave when something has happened."""
    asking = asyncio.ensure_future(in_thread(function))
    await asyncio.to_thread(asked)
    asking.cancel()
    await asyncio.wait([asking])


def test_a_left_sync_call_is_ended_also_when_its_client_has_talked_to_another_server_since():
    with OpenAIServer(lambda body: Reply(fault="hang") if "leave" in str(body) else "answer") as server:
        with OpenAIServer() as other:
            model = build(base_url=server.url, api_key="k", timeout=600)
            model.invoke("Hi")
            build(base_url=other.url, api_key="k").invoke("Hi")  # by the same client, which keeps both connections
            asyncio.run(ask_until(lambda: server.wait_for(lambda: server.in_flight), lambda: model.invoke("I leave")))
            server.wait_for(lambda: server.closed_by_client == ["lab/a"], timeout=10)
            assert server.in_flight == 0


def test_a_sync_call_left_as_it_takes_a_connection_sends_nothing(monkeypatch):
    with OpenAIServer() as server:
        model = build(base_url=server.url, api_key="k", timeout=600)
        model.invoke("Hi")  # there is a connection to be used again: making one is another place to notice
        client, taken, left, ended = model.http_client, threading.Event(), threading.Event(), threading.Event()
        take = client._take

        def take_slowly():
            connection = take()
            taken.set()
            left.wait(30)
            return connection

        def ask():
            try:
                model.invoke("I leave")
            finally:
                ended.set()

        monkeypatch.setattr(client, "_take", take_slowly)
        asyncio.run(ask_until(taken.wait, ask))
        left.set()
        assert ended.wait(30)
        monkeypatch.undo()
        assert model.invoke("Hi again").text == "reply of lab/a"  # by the connection that was given back
        assert [body["messages"][0]["content"] for body in server.requests] == ["Hi", "Hi again"]


def test_a_slow_sync_proposer_leaves_no_connection_behind(monkeypatch):
    with RawServer(drip) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
        monkeypatch.setenv("TOGETHER_API_BASE", server.url)
        fast = ScriptedChatModel(reply="fine")
        mixture = ChatMoA(proposers=["lab/slow", fast], aggregator=ScriptedChatModel(reply="done"), quorum=1, grace=0.3)
        assert mixture.invoke("Hi").text == "done"
        assert server.ended.acquire(timeout=5)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_byte_now_and_then_is_no_answer_in_time(monkeypatch, way):
    with RawServer(drip) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
        model = build(base_url=server.url, timeout=0.5, max_retries=0)
        started = monotonic()
        with pytest.raises(openai.APITimeoutError):
            model.invoke("Hi") if way == "invoke" else asyncio.run(model.ainvoke("Hi"))
        assert monotonic() - started < 5


@linux
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_event_loops_that_are_just_closed_leave_nothing_behind(together, monkeypatch):
    together()
    model = build()

    def ask():
        loop = asyncio.new_event_loop()
        loop.run_until_complete(model.ainvoke("Hi"))
        loop.close()

    for _ in range(10):
        ask()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(40):
        ask()
    # The server's ends of the connections are in this process too.
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 30
    # What the last ones left ends here, and not in another test.
    monkeypatch.setattr(transport, "_MOST_CLOSED_LOOPS", 1)
    asyncio.run(model.ainvoke("Hi"))
    assert not [loop for loop in model.http_async_client._clients if loop.is_closed()]


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


FAILURES = {
    "refused": lambda _: "http://127.0.0.1:9/v1",
    "unknown host": lambda _: "http://nowhere.invalid/v1",
    "TLS": lambda url: url.replace("http:", "https:"),
    "reset": lambda url: url,
    "timeout": lambda url: url,
}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_connections_failure_is_named_as_a_bare_model_names_it(monkeypatch, way, failure):
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
    with RawServer(silent if failure == "timeout" else reset) as server:
        url = FAILURES[failure](server.url)

        def outcome(model):
            with pytest.raises(openai.APIError) as caught:
                model.invoke("Hi") if way == "invoke" else asyncio.run(model.ainvoke("Hi"))
            return next(c for c in type(caught.value).__mro__ if c.__module__.startswith("openai")), str(caught.value)

        timeout = 0.2 if failure == "timeout" else 30
        ours = build(base_url=url, timeout=timeout, max_retries=0)
        bare = ChatOpenAI(model="a", base_url=url, api_key="k", timeout=timeout, max_retries=0)
        assert outcome(ours) == outcome(bare)
        kind = openai.APITimeoutError if failure == "timeout" else openai.APIConnectionError
        assert outcome(ours)[0] is kind


def not_json(connection):
    body = b"data: {not json\n\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body))
    connection.sendall(body)


def not_utf8(connection):
    body = b"data: \xff\xfe\n\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body))
    connection.sendall(body)


@pytest.mark.parametrize("handle", [not_json, not_utf8])
@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_that_cannot_be_decoded_is_an_api_error(monkeypatch, handle, way):
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")

    async def astream(model):
        return [chunk async for chunk in model.astream("Hi")]

    with RawServer(handle) as server:
        model = build(base_url=server.url)
        with pytest.raises(openai.APIError, match="can't be decoded"):
            list(model.stream("Hi")) if way == "stream" else asyncio.run(astream(model))


def test_two_tenants_have_keys_and_servers_of_their_own(ask):
    with OpenAIServer() as one, OpenAIServer() as other:
        ask(build(base_url=one.url, api_key="first"), "Hi")
        ask(build("together:a", base_url=other.url, api_key="second"), "Hi")
        assert [s.headers[0]["authorization"] for s in (one, other)] == ["Bearer first", "Bearer second"]


def test_model_kwargs_and_retries_reach_the_server(ask, together):
    server = together({"lab/a": Reply(status=500)})
    model = build(max_retries=0, model_kwargs={"parallel_tool_calls": False})
    with pytest.raises(openai.InternalServerError):
        ask(model, "Hi")
    assert [body["parallel_tool_calls"] for body in server.requests] == [False]
