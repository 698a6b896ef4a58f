"""What leaks out of a `ChatMoA` into its caller's streams: every token of the answer once, and nothing else."""

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA
from tests.fakes import ScriptedChatModel

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
ANSWER = ["the", " final", " answer"]
TOTAL = 5 * 15


def mixture(**options):
    """Two rounds of two proposers, in a mixture whose proposers' words nobody outside may hear."""
    proposers = [ScriptedChatModel(reply=f"secret {name}", usage=USAGE, model_name=name) for name in "ab"]
    aggregator = ScriptedChatModel(reply="the final answer", usage=USAGE, model_name="writer")
    return ChatMoA(proposers=proposers, rounds=2, aggregator=aggregator, **options)


def in_a_node(model, *, asynchronous):
    """A graph with a node that asks the model without handing on a config."""

    def node(state):
        return {"messages": [model.invoke(state["messages"])]}

    async def anode(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", anode if asynchronous else node)
    graph.add_edge(START, "ask")
    return graph.compile()


def streamed(graph, asynchronous, **options):
    """Return all items of a stream."""
    if not asynchronous:
        return list(graph.stream({"messages": "Go."}, **options))

    async def collect() -> list[Any]:
        return [item async for item in graph.astream({"messages": "Go."}, **options)]

    return asyncio.run(collect())


beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def nested(inner):
    graph = StateGraph(MessagesState)
    graph.add_node("inner", inner)
    graph.add_edge(START, "inner")
    return graph.compile()


def tokens(messages):
    return [message.text for message in messages if message.text]


@BOTH
@pytest.mark.parametrize(
    ("nest", "subgraphs"),
    [(False, False), (False, True), (True, True)],
    ids=["in a node", "in a node, subgraphs", "in a subgraph"],
)
def test_a_graphs_messages_are_the_answers_tokens_once(asynchronous, nest, subgraphs):
    graph = in_a_node(mixture(), asynchronous=asynchronous)
    items = streamed(nested(graph) if nest else graph, asynchronous, stream_mode="messages", subgraphs=subgraphs)
    messages = [item[1][0] if subgraphs else item[0] for item in items]
    assert tokens(messages) == ANSWER
    assert all(isinstance(message, AIMessageChunk) for message in messages)
    assert len({message.id for message in messages}) == 1


@BOTH
def test_a_graphs_updates_hold_the_answer_and_nothing_of_the_inside(asynchronous):
    graph = in_a_node(mixture(), asynchronous=asynchronous)
    items = streamed(graph, asynchronous, stream_mode="updates", subgraphs=True)
    assert [(namespace, list(update)) for namespace, update in items] == [((), ["ask"])]


@BOTH
def test_progress_comes_through_the_enclosing_graphs_custom_stream(asynchronous):
    graph = in_a_node(mixture(), asynchronous=asynchronous)
    events = streamed(graph, asynchronous, stream_mode="custom")
    assert [event["event"] for event in events if "proposer" not in event["event"]] == [
        "moa_layer_end",
        "moa_layer_end",
        "moa_aggregator_start",
    ]
    ends = [event for event in events if event["event"] == "moa_proposer_end"]
    assert [(event["layer"], event["done"], event["total"]) for event in ends] == [
        (1, 1, 2),
        (1, 2, 2),
        (2, 1, 2),
        (2, 2, 2),
    ]
    assert {event["usage"]["total_tokens"] for event in ends} == {15}


async def events_of(runnable, input, **options):
    return [event async for event in runnable.astream_events(input, version="v2", **options)]


@pytest.mark.parametrize("way", ["model", "chain", "node"])
async def test_events_v2_show_one_chat_model_its_tokens_once_and_its_progress(way):
    model = mixture()
    runnable, question = {
        "model": (model, "Go."),
        "chain": (ChatPromptTemplate.from_template("{q}") | model, {"q": "Go."}),
        "node": (in_a_node(model, asynchronous=True), {"messages": "Go."}),
    }[way]
    events = await events_of(runnable, question)
    starts = [event for event in events if event["event"] == "on_chat_model_start"]
    assert [event["name"] for event in starts] == ["ChatMoA"]
    chunks = [event for event in events if event["event"] == "on_chat_model_stream"]
    assert tokens(event["data"]["chunk"] for event in chunks) == ANSWER
    assert {event["run_id"] for event in chunks} == {starts[0]["run_id"]}
    (end,) = [event for event in events if event["event"] == "on_chat_model_end"]
    assert end["data"]["output"].text == "the final answer"
    progress = [event for event in events if event["event"] == "on_custom_event"]
    assert {event["name"] for event in progress} == {
        "moa_proposer_start",
        "moa_proposer_end",
        "moa_layer_end",
        "moa_aggregator_start",
    }
    assert {event["run_id"] for event in progress} == {starts[0]["run_id"]}
    assert "secret" not in str([event for event in events if event["event"] != "on_custom_event"])


async def test_events_v2_of_a_node_carry_the_usage_of_all_calls():
    events = await events_of(in_a_node(mixture(), asynchronous=True), {"messages": "Go."})
    (end,) = [event for event in events if event["event"] == "on_chat_model_end"]
    assert end["data"]["output"].usage_metadata["total_tokens"] == TOTAL


@beta
def test_events_v3_are_the_answer_once_with_the_usage_of_all_calls():
    stream = mixture().stream_events("Go.", version="v3")
    assert list(stream.text) == ANSWER
    assert stream.output.text == "the final answer"
    assert stream.output.usage_metadata["total_tokens"] == TOTAL


@beta
async def test_events_v3_are_the_answer_once_with_the_usage_of_all_calls_async():
    stream = await mixture().astream_events("Go.", version="v3")
    assert [token async for token in stream.text] == ANSWER
    answer = await stream
    assert answer.text == "the final answer"
    assert answer.usage_metadata["total_tokens"] == TOTAL


@beta
def test_a_graphs_events_v3_hold_the_answer_once():
    run = in_a_node(mixture(), asynchronous=False).stream_events({"messages": "Go."}, version="v3")
    (message,) = list(run.messages)
    assert list(message.text) == ANSWER
    assert message.output.usage_metadata["total_tokens"] == TOTAL


@beta
async def test_a_graphs_events_v3_hold_the_answer_once_async():
    run = await in_a_node(mixture(), asynchronous=True).astream_events({"messages": "Go."}, version="v3")
    (heard,) = [[token async for token in message.text] async for message in run.messages]
    assert heard == ANSWER


def test_an_ordinary_handler_sees_one_chat_model_and_its_tokens_once(ask):
    class Handler(BaseCallbackHandler):
        def __init__(self):
            self.starts, self.tokens, self.ends = 0, [], []

        def on_chat_model_start(self, *args, **kwargs):
            self.starts += 1

        def on_llm_new_token(self, token, **kwargs):
            self.tokens.append(token)

        def on_llm_end(self, response, **kwargs):
            self.ends.append(response.generations[0][0].message)

    handler = Handler()
    ask(mixture(), "Go.", {"callbacks": [handler]})
    assert handler.starts == 1
    assert [message.text for message in handler.ends] == ["the final answer"]
    assert [token for token in handler.tokens if token] in ([], ANSWER)


def test_a_handler_that_asks_for_it_sees_every_call(ask):
    class Vendor(BaseCallbackHandler):
        """As Langfuse's and MLflow's: no LangChain tracer, but it keeps a tree of its own."""

        def __init__(self):
            self.runs, self.counted = [], []

        def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, name=None, **kwargs):
            self.runs.append(name)

        def on_llm_end(self, response, **kwargs):
            self.counted.append(response.generations[0][0].message.usage_metadata)

    handler = Vendor()
    ask(mixture(inner_handlers=(Vendor,)), "Go.", {"callbacks": [handler]})
    # The mixture's own run has no name but its class's.
    assert sorted(handler.runs, key=str) == [None, "a", "a", "aggregator", "b", "b"]
    assert sum(usage["total_tokens"] for usage in handler.counted if usage) == TOTAL


def test_a_custom_event_handler_hears_of_progress(ask):
    heard = []

    class Handler(BaseCallbackHandler):
        def on_custom_event(self, name, data, **kwargs):
            heard.append((name, data.get("proposer"), data.get("status")))

    ask(mixture(), "Go.", {"callbacks": [Handler()]})
    assert heard.count(("moa_proposer_end", "a", "ok")) == 2
    assert heard[-1][0] == "moa_aggregator_start"


def test_output_version_v1_gives_content_blocks(ask):
    answer = ask(mixture(output_version="v1"), "Go.")
    assert [block["type"] for block in answer.content] == ["text"]
    assert answer.text == "the final answer"
    assert answer.usage_metadata["total_tokens"] == TOTAL


def test_streaming_can_be_switched_off():
    chunks = list(mixture(disable_streaming=True).stream("Go."))
    assert [(type(chunk), chunk.text) for chunk in chunks] == [(AIMessage, "the final answer")]
    assert chunks[0].usage_metadata["total_tokens"] == TOTAL


def test_whole_answers_may_be_streamed_from_the_aggregator():
    heard = []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token, **kwargs):
            heard.append(token)

    mixture(streaming=True).invoke("Go.", {"callbacks": [Handler()]})
    assert [token for token in heard if token] == ANSWER


@BOTH
def test_nothing_of_the_inside_is_written_into_the_enclosing_checkpointer(asynchronous):
    from langgraph.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    graph = in_a_node(mixture(), asynchronous=asynchronous)
    graph.checkpointer = saver
    thread = {"configurable": {"thread_id": "1"}}
    asyncio.run(graph.ainvoke({"messages": "Go."}, thread)) if asynchronous else graph.invoke(
        {"messages": "Go."}, thread
    )
    checkpoints = list(saver.list(None))
    assert {checkpoint.config["configurable"]["checkpoint_ns"] for checkpoint in checkpoints} == {""}
    assert "secret" not in str(checkpoints)
