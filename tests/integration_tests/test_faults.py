"""What each fault of a provider does to a call: at a proposer, and at the aggregator before and after its first token.

Every cell ends in time, with a right answer or the provider's own error, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from itertools import chain, repeat
from json import JSONDecodeError
from operator import add
from time import monotonic
from typing import Any, NamedTuple

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langchain_together import ChatTogether

from langchain_moa import ChatMoA, Proposer
from langchain_moa._models.transport import http_clients
from langchain_moa.exceptions import EmptyAnswerError, FirstTokenTimeoutError
from tests.openai_server import OpenAIServer, Reply

pytestmark = pytest.mark.timeout(20)

SHORT = 0.5
"""Seconds that a model which falls silent gets for a request. The SDK asks an aggregator three times."""
LONG = 10
"""Seconds that the others get, so that a busy machine makes no timeout of what is none."""
BOUND = 6
"""Seconds within which each call has ended, and so has what it leaves behind."""

ANSWER = "One two three four."
SPARE = "The spare's answer."
OTHERS = {"lab/b": "reply b", "lab/c": "reply c", "lab/writer": "The writer's answer.", "lab/spare": SPARE}

Outcome = str | type[Exception]
"""The text that the caller gets, or the error: the provider's class, of which LangChain's is a subclass."""


class Fault(NamedTuple):
    """What a model does, and what becomes of the call."""

    replies: tuple[Reply, ...]
    """The last is repeated."""

    proposer: str
    """The status of a proposer that does it. Proposers don't stream: what breaks is the body."""

    aggregator: Outcome
    """What an aggregator that does it comes to, without a fallback."""

    streamed: Outcome | None = None
    """The same from a stream, where it is not the same."""


def refused(code: int) -> Reply:
    return Reply(status=code, error="scripted", headers={"Retry-After": "0.01"})


def broken(kind: Any) -> tuple[Reply, ...]:
    # A stream opens with a chunk that says nothing yet: the SDK gives the reasoning to nobody.
    return (Reply(text=ANSWER, reasoning="Hm.", error="scripted", fault=kind, fault_after=1),)


OK = Reply(text=ANSWER)
# fmt: off
FAULTS = {
    #                             the server sends             proposer   aggregator                   streamed
    "429 that never ends": Fault((refused(429),),              "failed",  openai.RateLimitError),
    "429 twice, then ok":  Fault((refused(429),) * 2 + (OK,),  "ok",      ANSWER),
    "500":                 Fault((refused(500),),              "failed",  openai.InternalServerError),
    "503":                 Fault((refused(503),),              "failed",  openai.InternalServerError),
    "400":                 Fault((refused(400),),              "failed",  openai.BadRequestError),
    "401":                 Fault((refused(401),),              "failed",  openai.AuthenticationError),
    "404":                 Fault((refused(404),),              "failed",  openai.NotFoundError),
    "hang before headers": Fault(broken("hang"),               "timeout", FirstTokenTimeoutError),
    "headers and no body": Fault(broken("headers_only"),       "timeout", FirstTokenTimeoutError),
    "connection dropped":  Fault(broken("drop"),               "failed",  openai.APIConnectionError),
    "disconnect midway":   Fault(broken("disconnect"),         "failed",  openai.APIConnectionError),
    "stall midway":        Fault(broken("stall"),              "timeout", FirstTokenTimeoutError),
    "broken JSON":         Fault(broken("bad_json"),           "failed",  JSONDecodeError),
    "error event":         Fault(broken("error_event"),        "failed",  ValueError,                  openai.APIError),
    "empty choices":       Fault(broken("empty_choices"),      "failed",  IndexError,                EmptyAnswerError),
    "null content":        Fault((Reply(text=None),),          "empty",   EmptyAnswerError),
}
# fmt: on
MIDWAY = ["disconnect midway", "stall midway", "broken JSON", "error event"]

each_way = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


class Asked(NamedTuple):
    """What the caller got."""

    outcome: Outcome
    heard: list[str]
    """The tokens of a stream, also when an error came after them."""

    answer: AIMessage | None

    @property
    def moa(self) -> dict[str, Any]:
        assert self.answer
        return self.answer.response_metadata["moa"]


@pytest.fixture
def serve(together: Callable[..., OpenAIServer], monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenAIServer]:
    """Start a server where `lab/bad` sends the given replies, and the others answer."""
    # Where no Retry-After can be sent the SDK waits 0.5 and 1 s between its tries: a minute, over all cells.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)

    def start(replies: tuple[Reply, ...]) -> OpenAIServer:
        script = chain(replies, repeat(replies[-1]))
        return together(lambda body: next(script) if body["model"] == "lab/bad" else OTHERS[body["model"]])

    return start


def ask(way: str, model: Runnable[Any, Any], server: OpenAIServer) -> Asked:
    """Ask in one of the four ways, and check that it ends in time and leaves nothing behind."""
    heard: list[str] = []

    def hear(chunk: AIMessageChunk) -> AIMessageChunk:
        heard.extend([chunk.text] if chunk.text else [])
        return chunk

    def call() -> AIMessage:
        return model.invoke("Go.") if way == "invoke" else reduce(add, map(hear, model.stream("Go.")))

    async def acall() -> AIMessage:
        try:
            if way == "ainvoke":
                return await model.ainvoke("Go.")
            return reduce(add, [hear(chunk) async for chunk in model.astream("Go.")])
        finally:  # while the loop still runs, for its end would close everything; sooner than a request would end
            async with asyncio.timeout(SHORT):
                while server.in_flight or len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.005)

    before, started = threading.enumerate(), monotonic()
    answer, outcome = None, Exception
    try:
        answer = asyncio.run(acall()) if way.startswith("a") else call()
        outcome = answer.text
    except Exception as error:
        own = (EmptyAnswerError, FirstTokenTimeoutError)
        outcome = next(c for c in type(error).__mro__ if c in own or not c.__module__.startswith("langchain"))
    assert monotonic() - started < BOUND
    # A thread that was left behind ends by its own HTTP timeout.
    for thread in threading.enumerate():
        if thread not in before and thread.name == "moa":
            thread.join(BOUND)
            assert not thread.is_alive()
    server.wait_for(lambda: server.in_flight == 0)
    assert server.errors == []
    return Asked(outcome, heard, answer)


def seconds_for(fault: Fault) -> float:
    return SHORT if fault.proposer == "timeout" else LONG


def mixture(fault: Fault, **options: Any) -> ChatMoA:
    """Return a mixture whose aggregator is the bad one."""
    proposers = [Proposer(model=model, timeout=LONG) for model in ("lab/b", "lab/c")]
    return ChatMoA(proposers=proposers, aggregator="lab/bad", timeout=seconds_for(fault), **options)


def expected(fault: Fault, way: str) -> Outcome:
    return fault.streamed if "stream" in way and fault.streamed is not None else fault.aggregator


def references(server: OpenAIServer, model: str) -> list[str]:
    """Return the references in each request to a model."""
    systems = [body["messages"][0]["content"] for body in server.requests if body["model"] == model]
    return [system.partition("\n\nResponses from models:\n")[2] for system in systems]


@each_way
@each_fault
def test_a_proposers_fault_costs_its_reference_and_no_more(serve, way, fault):
    server = serve(fault.replies)
    bad = Proposer(model="lab/bad", timeout=seconds_for(fault))
    model = ChatMoA(proposers=[bad, "lab/b", "lab/c"], aggregator="lab/writer", timeout=LONG)
    asked = ask(way, model, server)
    assert asked.outcome == OTHERS["lab/writer"]
    call, *others = asked.moa["layers"][0]
    assert (call["proposer"], call["status"]) == ("bad", fault.proposer)
    assert [other["status"] for other in others] == ["ok", "ok"]
    if fault.proposer == "ok":
        assert (call["error"], asked.moa["degraded"]) == (None, [])
        assert references(server, "lab/writer") == [f"1. {ANSWER}\n2. reply b\n3. reply c"]
    else:
        assert call["error"]
        assert asked.moa["degraded"] == [{"reason": f"proposer_{fault.proposer}", "layer": 1, "proposer": "bad"}]
        assert references(server, "lab/writer") == ["1. reply b\n2. reply c"]


@each_way
@each_fault
def test_an_aggregators_fault_before_its_first_token_is_the_callers(serve, way, fault):
    server = serve(fault.replies)
    asked = ask(way, mixture(fault), server)
    assert asked.outcome == expected(fault, way)
    assert "".join(asked.heard) == (asked.outcome if asked.answer and "stream" in way else "")


@each_way
@each_fault
def test_an_aggregators_fault_before_its_first_token_is_made_good_by_a_fallback(serve, way, fault):
    server = serve(fault.replies)
    asked = ask(way, mixture(fault, fallback_aggregators=["lab/spare"]), server)
    if isinstance(expected(fault, way), str):
        assert (asked.outcome, asked.moa["degraded"]) == (expected(fault, way), [])
        assert references(server, "lab/spare") == []
    else:
        assert asked.outcome == SPARE
        assert asked.moa["aggregator"]["model"] == "lab/spare"
        assert [(item["reason"], item["model"]) for item in asked.moa["degraded"]] == [("aggregator_failed", "lab/bad")]
        assert references(server, "lab/spare") == ["1. reply b\n2. reply c"]


@each_way
@pytest.mark.parametrize("name", MIDWAY)
def test_an_aggregators_fault_after_its_first_token_is_an_error(serve, way, name):
    """Asked for a whole answer, no token has left: the spare's answer is the caller's."""
    fault = FAULTS[name]
    server = serve((replace(fault.replies[0], reasoning=None, fault_after=2),))
    asked = ask(way, mixture(fault, fallback_aggregators=["lab/spare"]), server)
    if "stream" in way:
        error = openai.APITimeoutError if name == "stall midway" else expected(fault, way)
        assert (asked.outcome, asked.heard) == (error, ["One", " two"])
        assert references(server, "lab/spare") == []
    else:
        assert (asked.outcome, asked.moa["degraded"][0]["reason"]) == (SPARE, "aggregator_failed")


@each_way
def test_an_aggregators_empty_answer_is_an_error_where_a_bare_models_is_an_answer(serve, way):
    server = serve(FAULTS["null content"].replies)
    # With our HTTP clients, because its own async one leaks its connections when the loop ends.
    bare = ask(way, ChatTogether(model="lab/bad", timeout=LONG, stream_usage=True, **http_clients()), server)
    assert bare.outcome == ""
    assert ask(way, mixture(FAULTS["null content"]), server).outcome == EmptyAnswerError
