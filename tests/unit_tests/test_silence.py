"""Silence of the aggregator is a failure: an empty answer, and a first token that does not come."""

import socket
import threading
from time import monotonic

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA
from langchain_moa._models.transport import http_clients
from langchain_moa.exceptions import EmptyAnswerError, FirstTokenTimeoutError
from tests.fakes import ChunkedChatModel, ScriptedChatModel
from tests.openai_server import Reply

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
SILENT = {
    "no content": Reply(text=None),
    "an empty text": Reply(text=""),
    "filtered": Reply(text=None, finish_reason="content_filter"),
    "cut off before a word": Reply(text=None, finish_reason="length"),
}


def reasons(answer):
    return [each["reason"] for each in answer.response_metadata["moa"]["degraded"]]


# -- An empty answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silence", SILENT.values(), ids=SILENT)
def test_an_aggregator_that_says_nothing_has_failed(ask, together, silence):
    together({"lab/a": "reference", "lab/c": silence})
    with pytest.raises(EmptyAnswerError, match="'lab/c' gave an empty answer"):
        ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Q")


@pytest.mark.parametrize("silence", [*SILENT.values(), Reply(fault="empty_choices")], ids=[*SILENT, "no choices"])
def test_a_fallback_answers_for_an_aggregator_that_says_nothing(ask, together, silence):
    together({"lab/a": "reference", "lab/c": silence, "lab/spare": "It is 42."})
    answer = ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c", fallback_aggregators=["lab/spare"]), "Q")
    assert answer.text == "It is 42."
    assert reasons(answer) == ["aggregator_failed"]
    assert answer.response_metadata["moa"]["aggregator"]["model"] == "lab/spare"
    assert answer.response_metadata["finish_reason"] == "stop"


def test_a_tool_call_or_reasoning_alone_is_something(ask, together):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    together({"lab/a": "reference", "lab/c": Reply(text=None, tool_calls=(call,))})
    assert ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Q").tool_calls[0]["name"] == "f"


def failing(*chunks):
    """An aggregator that streams chunks which say nothing, and fails."""
    return ChunkedChatModel(chunks=list(chunks), error=ConnectionError("cut"), error_after=0, model_name="bad")


MUTE = {
    "a role": AIMessageChunk("", response_metadata={"model_provider": "anthropic"}, usage_metadata=USAGE),
    "an empty text block": AIMessageChunk(
        [{"type": "text", "text": "", "index": 0}],
        response_metadata={"model_provider": "anthropic"},
        usage_metadata=USAGE,
    ),
    "a list of nothing": AIMessageChunk([], response_metadata={"model_provider": "anthropic"}, usage_metadata=USAGE),
}


@pytest.mark.parametrize("mute", MUTE.values(), ids=MUTE)
def test_nothing_of_a_failed_aggregator_is_in_the_answer(ask, mute):
    said = [
        AIMessageChunk("It is 42.", response_metadata={"model_provider": "openai"}),
        AIMessageChunk("", usage_metadata=USAGE, response_metadata={"finish_reason": "stop"}),
    ]
    good = ChunkedChatModel(chunks=said, model_name="good")
    proposer = ScriptedChatModel(usage=USAGE)
    answer = ask(ChatMoA(proposers=[proposer], aggregator=failing(mute), fallback_aggregators=[good]), "Q")
    assert answer.content == "It is 42."
    assert answer.response_metadata["model_provider"] == "openai"
    assert answer.response_metadata["moa"]["aggregator"]["model"] == "good"
    assert answer.usage_metadata["total_tokens"] == 2 * 15
    assert reasons(answer) == ["aggregator_failed"]


@pytest.mark.parametrize("mute", MUTE.values(), ids=MUTE)
def test_a_chunk_that_says_nothing_is_held_back_until_one_does(mute):
    good = ScriptedChatModel(reply="good")
    heard = list(
        ChatMoA(proposers=[ScriptedChatModel()], aggregator=failing(mute), fallback_aggregators=[good]).stream("Q")
    )
    assert [chunk.text for chunk in heard if chunk.text] == ["good"]
    assert not any("anthropic" in str(chunk.response_metadata) for chunk in heard)


# -- The first token ---------------------------------------------------------------------------------------------------

FAULTS = {
    "nothing at all": Reply(fault="hang"),
    "headers alone": Reply(fault="headers_only"),
    "a stream without a token": Reply(text="x", fault="stall", fault_after=0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_first_token_that_does_not_come_is_an_error_in_time(ask, together, fault):
    together({"lab/a": "reference", "lab/c": fault})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c", first_token_timeout=0.5)
    started = monotonic()
    with pytest.raises(FirstTokenTimeoutError, match=r"'lab/c' gave no token within 0\.5 seconds") as error:
        ask(model, "Q")
    assert monotonic() - started < 5
    assert isinstance(error.value, TimeoutError)
    assert error.value.is_retryable


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fallback_answers_when_the_first_token_does_not_come(ask, together, fault):
    server = together({"lab/a": "reference", "lab/c": fault, "lab/spare": "It is 42."})
    model = ChatMoA(
        proposers=["lab/a"], aggregator="lab/c", fallback_aggregators=["lab/spare"], first_token_timeout=0.5
    )
    answer = ask(model, "Q")
    assert answer.text == "It is 42."
    (failed,) = answer.response_metadata["moa"]["degraded"]
    assert (failed["reason"], failed["model"]) == ("aggregator_failed", "lab/c")
    assert failed["error"].startswith("FirstTokenTimeoutError")
    assert [body["model"] for body in server.requests].count("lab/c") == 1


def test_retries_are_part_of_the_time_to_the_first_token(ask, together):
    busy = Reply(status=503, headers={"Retry-After": "1"})
    server = together({"lab/a": "reference", "lab/c": busy, "lab/spare": "It is 42."})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c", first_token_timeout=1.5, max_retries=20)
    started = monotonic()
    with pytest.raises(FirstTokenTimeoutError, match=r"'lab/c' gave no token within 1\.5 seconds"):
        ask(model, "Q")
    assert ask(model.model_copy(update={"fallback_aggregators": ["lab/spare"]}), "Q").text == "It is 42."
    assert monotonic() - started < 15  # 20 retries take longer
    assert 2 <= [body["model"] for body in server.requests].count("lab/c") <= 6


def test_by_default_a_silent_aggregator_has_the_timeout_once_and_not_once_per_retry(ask, together):
    server = together({"lab/a": "reference", "lab/c": Reply(fault="hang")})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c", timeout=0.5, max_retries=5)
    with pytest.raises(FirstTokenTimeoutError, match=r"'lab/c' gave no token within 0\.5 seconds"):
        ask(model, "Q")
    assert [body["model"] for body in server.requests].count("lab/c") <= 2  # the first retry may just be on its way


@pytest.fixture
def dripping():
    """A server whose answer is a byte of white space every 20 ms, for as long as somebody listens; and its address."""
    done = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def drip(connection):
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            kind = b"text/event-stream" if b'"stream":true' in request.replace(b" ", b"") else b"application/json"
            head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
            try:
                connection.sendall(head)
                while not done.wait(0.02):
                    connection.sendall(b"2\r\n:\n\r\n" if kind == b"text/event-stream" else b"1\r\n \r\n")
            except OSError:
                pass  # who listened has gone

    def serve():
        while not done.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=[connection], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    done.set()
    listening.close()


def test_bytes_that_drip_are_no_token(ask, dripping):
    dripper = ChatOpenAI(model="dripper", base_url=dripping, api_key="none", timeout=30, **http_clients())
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=dripper, first_token_timeout=0.5)
    started = monotonic()
    with pytest.raises(FirstTokenTimeoutError, match="'dripper'"):
        ask(model, "Q")
    spare = model.model_copy(update={"fallback_aggregators": [ScriptedChatModel(reply="good")]})
    assert ask(spare, "Q").text == "good"
    assert monotonic() - started < 10


def test_after_the_first_token_the_stream_has_its_time(together):
    together({"lab/a": "reference", "lab/c": Reply(text="one two three four", token_delay=0.15)})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c", first_token_timeout=0.4)
    chunks = [chunk.text for chunk in model.stream("Q")]
    assert "".join(chunks) == "one two three four"


def test_the_first_token_may_take_as_long_as_a_proposer_by_default():
    never = threading.Event()
    slow = ScriptedChatModel(waits_for=never)
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=slow, timeout=0.3)
    try:
        with pytest.raises(FirstTokenTimeoutError, match=r"within 0\.3 seconds"):
            model.invoke("Q")
    finally:
        never.set()
