import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest

from tests.openai_server import OpenAIServer, Reply

TEXT = "  Grüße, 世界 🌍!\n\nTwo  spaces\tand a tail. "
ASK = [{"role": "user", "content": "Wie geht's, 世界?"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": [2, 3]}'}}
FAULTS = {
    "hang": openai.APITimeoutError,
    "headers_only": openai.APITimeoutError,
    "stall": openai.APITimeoutError,
    "drop": openai.APIConnectionError,
    "disconnect": openai.APIConnectionError,
    "bad_json": json.JSONDecodeError,  # the SDK lets this one through
}


@contextmanager
def client_of(server, **options):
    with openai.OpenAI(base_url=server.url, **{"api_key": "k", "max_retries": 0} | options) as client:
        yield client


def ask(client, model="m", **options):
    return client.chat.completions.create(model=model, messages=ASK, **options)


def streamed(client, **options):
    with ask(client, stream=True, **options) as stream:
        return list(stream)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_it_names_the_model_and_records_the_request():
    with OpenAIServer() as server, client_of(server) as client:
        reply = ask(client, "a", extra_headers={"X-Test": "1"})
        assert (reply.choices[0].message.content, reply.model) == ("reply of a", "a")
        assert (reply.choices[0].finish_reason, reply.usage.total_tokens) == ("stop", 18)
        assert server.requests == [{"model": "a", "messages": ASK}]
        assert server.headers[0]["x-test"] == "1"
        assert json.loads(server.raw[0]) == server.requests[0]
        assert (server.connections, server.peak) == (1, 1)
        server.wait_for(lambda: server.in_flight == 0)
        server.reset()
        assert (server.requests, server.headers, server.raw, server.peak) == ([], [], [], 0)
    assert server.connections == 0


@pytest.mark.parametrize("script", [{"a": TEXT}, {"a": Reply(text=TEXT)}, lambda body: TEXT])
def test_a_streamed_and_a_whole_reply_have_the_same_text(script):
    with OpenAIServer(script) as server, client_of(server) as client:
        assert ask(client, "a").choices[0].message.content == TEXT
        chunks = streamed(client, model="a")
        assert text_of(chunks) == TEXT
        assert len(chunks) == len(TEXT.split()) + 2  # the trailing space and the finish reason


def test_usage_is_streamed_only_when_asked_for():
    with OpenAIServer() as server, client_of(server) as client:
        assert not any(chunk.usage for chunk in streamed(client))
        *chunks, last = streamed(client, stream_options={"include_usage": True})
        assert not any(chunk.usage for chunk in chunks)
        assert (last.choices, last.usage.prompt_tokens) == ([], 11)


def test_tool_calls_reasoning_and_the_rest_of_a_reply():
    reply = Reply(
        tool_calls=(CALL, CALL | {"id": "c2"}), text=None, reasoning="Let me  add.", model="m-2026", usage=None
    )
    with OpenAIServer({"m": reply}) as server, client_of(server) as client:
        whole = ask(client)
        message = whole.choices[0].message
        assert [call.model_dump() for call in message.tool_calls] == [CALL, CALL | {"id": "c2"}]
        assert (message.content, message.reasoning_content) == (None, "Let me  add.")
        assert (whole.model, whole.usage, whole.choices[0].finish_reason) == ("m-2026", None, "tool_calls")

        with client.chat.completions.stream(model="m", messages=ASK) as stream:
            final = stream.get_final_completion().choices[0]
        assert [call.function.arguments for call in final.message.tool_calls] == [CALL["function"]["arguments"]] * 2
        assert [call.id for call in final.message.tool_calls] == ["c1", "c2"]
        assert final.finish_reason == "tool_calls"
        deltas = [chunk.choices[0].delta for chunk in streamed(client)]
        assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "Let me  add."


def test_a_retry_waits_as_long_as_told():
    replies = iter([Reply(status=429, headers={"Retry-After": "0.6"}, error="slow down"), "done"])
    with OpenAIServer(lambda body: next(replies)) as server, client_of(server, max_retries=1) as client:
        start = time.monotonic()
        assert ask(client).choices[0].message.content == "done"
        assert time.monotonic() - start >= 0.6  # the SDK's own first wait is at most 0.5 s
        assert len(server.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_carries_the_message(stream):
    with OpenAIServer({"m": Reply(status=503, error="überlastet")}) as server, client_of(server) as client:
        with pytest.raises(openai.InternalServerError, match="überlastet") as caught:
            ask(client, stream=stream)
        assert caught.value.status_code == 503
        assert caught.value.type == "server_error"


def test_an_error_of_the_script_is_kept_and_answered():
    with OpenAIServer({"a": "fine"}) as server, client_of(server) as client:
        with pytest.raises(openai.InternalServerError, match="KeyError"):
            ask(client, "b")
        assert isinstance(server.errors[0], KeyError)
        assert ask(client, "a").choices[0].message.content == "fine"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_is_an_error_within_two_seconds(fault, stream):
    start = time.monotonic()
    with OpenAIServer({"m": Reply(text=TEXT, fault=fault)}) as server, client_of(server, timeout=0.2) as client:
        with pytest.raises(FAULTS[fault]):
            (streamed if stream else ask)(client)
        if FAULTS[fault] is openai.APITimeoutError:
            server.wait_for(lambda: server.closed_by_client == ["m"])
        else:
            assert server.closed_by_client == []
    assert time.monotonic() - start < 2


def test_tokens_before_a_fault_arrive():
    reply = Reply(text="one two three four", fault="error_event", fault_after=3, error="overloaded")
    with OpenAIServer({"m": reply}) as server, client_of(server) as client:
        text = ""
        with ask(client, stream=True) as stream, pytest.raises(openai.APIError, match="overloaded"):
            for chunk in stream:
                text += chunk.choices[0].delta.content
        assert text == "one two three"
        assert ask(client).error["message"] == "overloaded"


def test_a_reply_may_have_no_choices():
    with OpenAIServer({"m": Reply(text=TEXT, fault="empty_choices")}) as server, client_of(server) as client:
        assert ask(client).choices == []
        assert [chunk.choices for chunk in streamed(client)] == [[]]


def test_a_stream_that_the_client_closes_is_recorded():
    reply = Reply(text=TEXT, gate=threading.Event())
    with OpenAIServer({"m": reply}) as server, client_of(server) as client:
        with ask(client, stream=True) as stream:
            assert next(stream).choices[0].delta.content == "  Grüße,"
            assert (server.in_flight, server.closed_by_client) == (1, [])
        server.wait_for(lambda: server.closed_by_client == ["m"])
        server.wait_for(lambda: (server.in_flight, server.connections) == (0, 0))


async def test_a_request_that_is_canceled_is_recorded():
    with OpenAIServer({"m": Reply(fault="hang")}) as server:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            task = asyncio.create_task(client.chat.completions.create(model="m", messages=ASK))
            await asyncio.to_thread(server.wait_for, lambda: server.requests)
            task.cancel()
            await asyncio.to_thread(server.wait_for, lambda: server.closed_by_client == ["m"])
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("call", [ask, streamed])
def test_a_gate_holds_the_answer_back(call):
    gate = threading.Event()
    with OpenAIServer(lambda body: Reply(text=TEXT, gate=gate)) as server, client_of(server) as client:
        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(call, client) for _ in range(3)]
            server.wait_for(lambda: server.in_flight == 3)
            assert not any(call.done() for call in calls)
            gate.set()
            assert all(call.result(timeout=30) for call in calls)
        assert server.peak == 3
        assert server.closed_by_client == []


def test_delays_are_kept():
    with OpenAIServer({"m": Reply(text="a b c", delay=0.05, token_delay=0.03)}) as server, client_of(server) as client:
        start = time.monotonic()
        with ask(client, stream=True) as stream:
            assert time.monotonic() - start >= 0.05
            assert text_of(stream) == "a b c"
        assert time.monotonic() - start >= 0.11


def test_leaving_ends_what_hangs():
    with ThreadPoolExecutor() as pool:
        with OpenAIServer({"m": Reply(fault="hang")}) as server:
            client = openai.OpenAI(base_url=server.url, api_key="k", max_retries=0)
            call = pool.submit(ask, client)
            server.wait_for(lambda: server.in_flight)
            start = time.monotonic()
        assert time.monotonic() - start < 30
        with client, pytest.raises(openai.APIConnectionError):
            call.result(timeout=30)
    assert (server.in_flight, server.connections, server.closed_by_client) == (0, 0, [])


def test_a_connection_serves_many_requests_unless_told_to_close():
    with OpenAIServer() as server, client_of(server) as client:
        for _ in range(3):
            ask(client)
        assert server.connections == 1
        ask(client, extra_headers={"Connection": "close"})
        server.wait_for(lambda: server.connections == 0)


def test_models_are_listed_in_either_shape():
    with OpenAIServer({"a": "x", "b": "y"}, bare_models=False) as server, client_of(server) as client:
        assert [model.id for model in client.models.list()] == ["a", "b"]
        server.bare_models, server.models = True, ["c"]
        assert [model["id"] for model in client.get("/models", cast_to=list)] == ["c"]
        assert server.requests == []
    with OpenAIServer() as server, client_of(server) as client, pytest.raises(openai.NotFoundError):
        client.models.list()


def test_a_wrong_key_is_refused():
    with OpenAIServer({"m": "hi"}, api_key="right") as server:
        with client_of(server, api_key="wrong") as client:
            for call in (client.models.list, lambda: ask(client), lambda: ask(client, stream=True)):
                with pytest.raises(openai.AuthenticationError, match="Incorrect API key") as caught:
                    call()
                assert caught.value.code == "invalid_api_key"
        with client_of(server, api_key="right") as client:
            assert ask(client).choices[0].message.content == "hi"
        assert len(server.requests) == 3
