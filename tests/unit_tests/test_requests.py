"""What leaves for the provider over HTTP, against what togethercomputer/MoA sends."""

import asyncio
import gc
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import openai
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA, ProposersFailedError
from langchain_moa._models.transport import http_clients
from langchain_moa.lineups import LINEUPS
from tests.openai_server import Reply
from tests.upstream import upstream_requests

CONVERSATIONS = {
    "one question": [{"role": "user", "content": "What is 6 x 7?"}],
    "a system message": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "several turns": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "And now?"},
    ],
    "unicode": [{"role": "user", "content": "Größe? 日本語 🙂 \u200d \t “quotes”\r\nnew line  "}],
}


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_messages_are_the_originals_byte_for_byte(ask, together, conversation, rounds):
    def reply_of(model, messages):
        return f"  {model} on {len(messages[0]['content'])}: ça va? 🙂\n"

    server = together(lambda body: reply_of(body["model"], body["messages"]))
    models, aggregator = ["lab/a", "lab/b", "lab/c"], "lab/writer"
    model = ChatMoA(proposers=models, aggregator=aggregator, rounds=rounds, reference_placement="system")
    ask(model, conversation)
    sent = [(body["model"], json.dumps(body["messages"], sort_keys=True)) for body in server.requests]
    expected = upstream_requests(conversation, models, aggregator, rounds, reply_of)
    # Within a layer the order of arrival is open; layers follow each other.
    for start in range(0, len(expected), 3):
        layer = [(model, json.dumps(messages, sort_keys=True)) for model, messages in expected[start : start + 3]]
        assert sorted(sent[start : start + 3]) == sorted(layer)


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_a_published_line_up_sends_the_originals_messages_in_every_turn_too(ask, together, conversation):
    server = together(lambda body: f"reply of {body['model']}")
    lineup = LINEUPS["together-moa"]
    ask(ChatMoA(model="together-moa"), conversation)
    sent = [(body["model"], json.dumps(body["messages"], sort_keys=True)) for body in server.requests]
    expected = upstream_requests(
        conversation, lineup.proposers, lineup.aggregator, lineup.rounds, lambda model, messages: f"reply of {model}"
    )
    assert sorted(sent) == sorted((model, json.dumps(messages, sort_keys=True)) for model, messages in expected)


def test_temperature_and_max_tokens_go_with_every_call(ask, together):
    server = together()
    ask(ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c", rounds=2), "Hi")
    assert len(server.requests) == 5
    *proposers, writer = [(body["temperature"], body["max_tokens"]) for body in server.requests]
    assert (set(proposers), writer) == ({(0.7, 2048)}, (0.7, 8192))
    server.reset()
    ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c", temperature=0.2, max_tokens=9), "Hi")
    assert {(body["temperature"], body["max_tokens"]) for body in server.requests} == {(0.2, 9)}


def test_the_first_token_is_there_before_the_last_is_written(together):
    gate = threading.Event()
    together({"lab/a": "reference", "lab/c": Reply(text="one two three", gate=gate)})
    answer = ChatMoA(proposers=["lab/a"], aggregator="lab/c").stream("Hi")
    assert next(answer).text == "one"
    gate.set()
    assert "".join(chunk.text for chunk in answer) == " two three"


def test_a_rate_limit_is_waited_out_as_the_server_asks(ask, together, monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)  # where the server asks for no time
    replies = iter([Reply(status=429, headers={"Retry-After": "0.01"}), Reply(status=503), "at last"])
    server = together(lambda body: next(replies) if body["model"] == "lab/a" else "done")
    moa = ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Hi").response_metadata["moa"]
    assert [body["model"] for body in server.requests] == ["lab/a"] * 3 + ["lab/c"]
    assert moa["layers"][0][0]["status"] == "ok"


def test_a_proposer_that_fails_for_good_is_named_with_the_providers_error(ask, together):
    together({"lab/a": Reply(status=400, error="no such thing"), "lab/b": "fine", "lab/c": "done"})
    moa = ask(ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c"), "Hi").response_metadata["moa"]
    assert moa["layers"][0][0]["status"] == "failed"
    assert "no such thing" in moa["layers"][0][0]["error"]


def test_the_causes_are_the_providers_own_errors(ask, together):
    together({"lab/a": Reply(status=401, error="bad key"), "lab/c": "never"})
    with pytest.raises(ProposersFailedError) as error:
        ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Hi")
    assert isinstance(error.value.errors["a"], openai.AuthenticationError)


def test_the_aggregators_error_is_the_providers_own(ask, together):
    together({"lab/a": "fine", "lab/c": Reply(status=400, error="too long")})
    with pytest.raises(openai.BadRequestError, match="too long"):
        ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Hi")


def test_usage_is_asked_for_and_summed_in_every_way(ask, together):
    together()
    answer = ask(ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c"), "Hi")
    assert answer.usage_metadata["total_tokens"] == 3 * 18
    assert answer.response_metadata["moa"]["aggregator"]["model"] == "lab/c"


def test_only_the_key_for_together_goes_to_together(ask, together, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    server = together()
    ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Hi")
    assert {headers["authorization"] for headers in server.headers} == {"Bearer test-key"}


def test_one_model_is_used_from_one_event_loop_after_another(together):
    """A pool belongs to the loop that opened it: shared naively, every second loop gets `Event loop is closed`."""
    server = together()
    model = ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c")
    for _ in range(3):
        assert asyncio.run(model.ainvoke("Hi")).text == "reply of lab/c"
    assert len(server.requests) == 9


def test_a_proxy_of_the_environment_is_used(ask, together, monkeypatch):
    proxy = together()
    monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
    monkeypatch.setenv("TOGETHER_API_BASE", "http://together.invalid/v1")
    http_clients.cache_clear()
    try:
        assert ask(ChatMoA(proposers=["lab/a"], aggregator="lab/c"), "Hi").text == "reply of lab/c"
    finally:
        http_clients.cache_clear()
    assert {headers["host"] for headers in proxy.headers} == {"together.invalid"}


def test_connections_are_shared_by_all_models(together):
    server = together()
    for _ in range(3):
        ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c").invoke("Hi")
    assert server.connections <= 2


def test_sync_calls_at_once_have_connections_of_their_own_which_close_when_they_are_idle_for_long(
    together, monkeypatch
):
    gate = threading.Event()
    server = together({"lab/a": "reference", "lab/c": Reply(text="done", gate=gate)})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c").aggregator_model
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(model.invoke, ["Hi"] * 4)
        server.wait_for(lambda: server.connections == 4)
        gate.set()
        assert [answer.text for answer in answers] == ["done"] * 4
    assert server.connections == 4
    now = monotonic()
    monkeypatch.setattr("langchain_moa._models.transport.monotonic", lambda: now + 60)
    model.invoke("Hi")
    server.wait_for(lambda: server.connections == 1)


async def test_models_that_are_dropped_on_a_running_loop_make_no_later_request_hang(together):
    """Dropping an openai client on a running loop closes its pool under the requests of others (openai 2440)."""
    together()
    for _ in range(6):
        await ChatMoA(proposers=["lab/a"], aggregator="lab/c").ainvoke("Hi")
        gc.collect()
    model = ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/c")
    answers = await asyncio.wait_for(asyncio.gather(*[model.ainvoke("Hi") for _ in range(50)]), 20)
    assert {answer.text for answer in answers} == {"reply of lab/c"}


def test_a_caller_that_goes_away_cancels_the_calls_inside(together):
    gate = threading.Event()
    server = together({"lab/a": Reply(text="late", gate=gate), "lab/c": "never"})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c")

    async def leave() -> None:
        call = asyncio.create_task(model.ainvoke("Hi"))
        await asyncio.to_thread(server.wait_for, lambda: server.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())
    server.wait_for(lambda: server.closed_by_client == ["lab/a"])
    gate.set()
    assert [body["model"] for body in server.requests] == ["lab/a"]


@pytest.mark.parametrize("politely", [True, False], ids=["aclose", "garbage collection"])
def test_a_stream_that_is_left_early_closes_the_aggregators_connection(together, politely):
    gate = threading.Event()
    server = together({"lab/a": "reference", "lab/c": Reply(text="one two three", gate=gate)})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c")

    async def leave() -> None:
        stream = model.astream("Hi")
        async for chunk in stream:
            if chunk.text:
                break
        if politely:
            await stream.aclose()
        del stream
        gc.collect()
        await asyncio.to_thread(server.wait_for, lambda: server.closed_by_client == ["lab/c"])

    asyncio.run(leave())
    gate.set()


def test_canceling_an_enclosing_graph_cancels_the_calls_inside(together):
    gate = threading.Event()
    server = together({"lab/a": Reply(text="late", gate=gate), "lab/c": "never"})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c")

    async def ask(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")

    async def leave() -> None:
        call = asyncio.create_task(graph.compile().ainvoke({"messages": "Hi"}))
        await asyncio.to_thread(server.wait_for, lambda: server.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(leave())
    server.wait_for(lambda: server.closed_by_client == ["lab/a"])
    gate.set()
    assert [body["model"] for body in server.requests] == ["lab/a"]
