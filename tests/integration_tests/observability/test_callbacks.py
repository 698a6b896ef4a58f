"""LangChain's own usage callbacks and handlers: every call once, or the sum."""

from __future__ import annotations

import asyncio
from ast import literal_eval

import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback

from langchain_moa import ChatMoA
from tests.integration_tests.observability.conftest import installed, run_snippet

pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")


def test_get_openai_callback_counts_every_call_once(mixture, providers, use, quiet):
    callbacks = installed("langchain_community.callbacks")
    with callbacks.get_openai_callback() as counted:
        use(mixture())
    assert counted.successful_requests == len(providers.requests) >= 4
    assert counted.total_tokens == 19 * len(providers.requests)
    assert counted.prompt_tokens == 11 * len(providers.requests)


def test_a_handler_of_the_same_class_that_the_caller_gives_counts_the_same(mixture, providers, use, quiet):
    callbacks = installed("langchain_community.callbacks")
    own = callbacks.OpenAICallbackHandler()
    with callbacks.get_openai_callback() as counted:
        use(mixture(), {"callbacks": [own]})
    assert own.total_tokens == counted.total_tokens == 19 * len(providers.requests)


def test_in_a_mixture_of_mixtures_every_call_is_counted_once(mixture, providers, use, quiet):
    callbacks = installed("langchain_community.callbacks")
    inner, ordinary = mixture(), Summing()
    with callbacks.get_openai_callback() as counted:
        use(ChatMoA(proposers=[inner, inner], aggregator="lab/writer"), {"callbacks": [ordinary]})
    assert counted.successful_requests == len(providers.requests) >= 9
    assert counted.total_tokens == ordinary.tokens == 19 * len(providers.requests)


def test_every_question_of_a_batch_is_counted_once(mixture, providers, quiet):
    callbacks = installed("langchain_community.callbacks")
    with callbacks.get_openai_callback() as counted:
        mixture().batch(["one", "two", "three"])
        asyncio.run(mixture().abatch(["one", "two", "three"]))
    assert counted.total_tokens == 19 * len(providers.requests) == 19 * 4 * 6


def test_get_usage_metadata_callback_counts_every_model(mixture, providers, use, quiet):
    with get_usage_metadata_callback() as counted:
        use(mixture())
    asked = [body["model"] for body in providers.requests]
    assert {name: usage["total_tokens"] for name, usage in counted.usage_metadata.items()} == {
        name: 19 * asked.count(name) for name in ("lab/a", "lab/b", "lab/c", "lab/writer")
    }


class Summing(BaseCallbackHandler):
    """An ordinary handler, as users write them."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.tokens = 0

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.runs.append(kwargs.get("name") or serialized["name"])

    def on_llm_end(self, response, **kwargs):
        self.tokens += response.generations[0][0].message.usage_metadata["total_tokens"]


@pytest.mark.parametrize("given", ["in the config", "to the model"])
def test_an_ordinary_handler_sees_one_model_and_the_sum(mixture, providers, use, quiet, given):
    handler = Summing()
    if given == "to the model":
        use(mixture(callbacks=[handler]))
    else:
        use(mixture(), {"callbacks": [handler]})
    assert set(handler.runs) == {"ChatMoA"}
    assert handler.tokens == 19 * len(providers.requests)


@pytest.mark.parametrize("given", ["in the config", "to the model"])
def test_a_named_handler_sees_every_call_and_no_sum(mixture, providers, use, quiet, given):
    class Counting(Summing):
        def on_llm_end(self, response, **kwargs):
            usage = response.generations[0][0].message.usage_metadata
            self.tokens += usage["total_tokens"] if usage else 0

    handler = Counting()
    options = {"inner_handlers": (Counting,)}
    if given == "to the model":
        use(mixture(callbacks=[handler], **options))
    else:
        use(mixture(**options), {"callbacks": [handler]})
    assert sorted(set(handler.runs)) == ["ChatMoA", "a", "aggregator", "b", "c"]
    assert len(handler.runs) - handler.runs.count("ChatMoA") == len(providers.requests)
    assert handler.tokens == 19 * len(providers.requests)


def test_the_end_of_the_model_in_astream_events_carries_the_usage(mixture, quiet):
    async def ends():
        events = mixture().astream_events("Go.", version="v2")
        return [event["data"]["output"] async for event in events if event["event"] == "on_chat_model_end"]

    (output,) = asyncio.run(ends())
    assert output.usage_metadata["total_tokens"] == 76


def test_one_of_the_chunks_in_a_graphs_messages_mode_carries_the_usage(mixture, quiet):
    from langgraph.graph import START, MessagesState, StateGraph

    model = mixture()
    graph = StateGraph(MessagesState).add_node("ask", lambda state: {"messages": model.invoke(state["messages"])})
    chunks = [
        chunk for chunk, _ in graph.add_edge(START, "ask").compile().stream({"messages": "Go."}, stream_mode="messages")
    ]
    assert [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata] == [76]


@pytest.mark.parametrize("heading", ["get_openai_callback", "get_usage_metadata_callback"])
def test_the_guides_snippet_shows_all_tokens(heading, providers, capsys):
    installed("langchain_community.callbacks")
    run_snippet(heading)
    said = capsys.readouterr().out
    if heading == "get_openai_callback":
        assert said == f"{19 * len(providers.requests)} tokens in {len(providers.requests)} requests\n"
    else:
        total = sum(usage["total_tokens"] for usage in literal_eval(said).values())
        assert total == 19 * len(providers.requests)
