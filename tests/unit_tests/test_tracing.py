"""What a tracer sees: one tree with every call, from every way of asking; and usage counted once."""

import asyncio
from contextvars import ContextVar
from functools import reduce
from operator import or_

import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import register_configure_hook
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import ChatMoA
from langchain_moa._messages.answers import add_up
from langchain_moa._runtime.tracing import count_usage
from tests.fakes import ScriptedChatModel
from tests.traces import INSIDE, TreeTracer

hooked = ContextVar("hooked", default=None)
register_configure_hook(hooked, inheritable=True)

DETAILED = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_token_details": {"cache_read": 4},
    "output_token_details": {"reasoning": 2},
}


def mixture(**options):
    proposers = [ScriptedChatModel(reply=name, usage=DETAILED, model_name=f"lab/{name}") for name in "ab"]
    aggregator = ScriptedChatModel(reply="the end", usage=DETAILED, model_name="lab/writer")
    return ChatMoA(proposers=proposers, aggregator=aggregator, **options)


def invoke(model, config):
    return model.invoke("Go.", config)


def ainvoke(model, config):
    return asyncio.run(model.ainvoke("Go.", config))


def astream(model, config):
    async def collect():
        return [chunk async for chunk in model.astream("Go.", config)]

    return asyncio.run(collect())


def events_v3(model, config):
    return model.stream_events("Go.", config, version="v3").output


def aevents_v3(model, config):
    async def collect():
        return await (await model.astream_events("Go.", config, version="v3"))

    return asyncio.run(collect())


def aevents_v2(model, config):
    async def collect():
        return [event async for event in model.astream_events("Go.", config, version="v2")]

    return asyncio.run(collect())


WAYS = {
    "invoke": invoke,
    "ainvoke": ainvoke,
    "stream": lambda model, config: list(model.stream("Go.", config)),
    "astream": astream,
    "batch": lambda model, config: model.batch(["Go."], config),
    "abatch": lambda model, config: asyncio.run(model.abatch(["Go."], config)),
    "events v2": aevents_v2,
    "events v3": events_v3,
    "events v3 async": aevents_v3,
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
quiet = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@quiet
@every_way
def test_there_is_one_tree_with_every_call(way):
    tracer = TreeTracer()
    way(mixture(), {"callbacks": [tracer]})
    assert tracer.tree() == INSIDE


@quiet
@every_way
def test_the_runs_say_who_they_are(way):
    tracer = TreeTracer()
    way(mixture(), {"callbacks": [tracer], "tags": ["mine"], "metadata": {"user": "u1"}})
    runs = {run.name: run for run in tracer.runs() if run.run_type == "llm"}
    proposer, aggregator = runs["b"], runs["aggregator"]
    assert {"mine", "moa:proposer"} <= set(proposer.tags)
    assert {"mine", "moa:aggregator"} <= set(aggregator.tags)
    about = {"moa_role": "proposer", "moa_layer": 1, "moa_proposer": "b", "user": "u1"}
    assert about.items() <= proposer.metadata.items()
    assert aggregator.metadata["moa_role"] == "aggregator"
    assert runs["ChatMoA"].metadata["ls_provider"] == "moa"
    assert runs["ChatMoA"].metadata["ls_model_name"] == "moa"
    assert "langchain-moa" in runs["ChatMoA"].metadata["lc_versions"]


def usage_in(run):
    """Return what a tracer would count for a run: it reads the usage from the run's output."""
    (generation,) = run.outputs["generations"][0]
    return generation["message"]["kwargs"].get("usage_metadata")


@quiet
@every_way
def test_a_trace_counts_usage_once_and_so_does_the_usage_callback(way):
    tracer = TreeTracer()
    with get_usage_metadata_callback() as usage:
        way(mixture(), {"callbacks": [tracer]})
    llm_runs = [run for run in tracer.runs() if run.run_type == "llm"]
    assert sum(usage_in(run)["total_tokens"] for run in llm_runs if usage_in(run)) == 45
    assert usage.usage_metadata == {name: DETAILED for name in ("lab/a", "lab/b", "lab/writer")}


def test_the_answers_usage_is_the_same_sum_with_its_details(ask):
    answer = ask(mixture(), "Go.")
    assert answer.usage_metadata == {
        "input_tokens": 30,
        "output_tokens": 15,
        "total_tokens": 45,
        "input_token_details": {"cache_read": 12},
        "output_token_details": {"reasoning": 6},
    }


def test_usage_of_a_proposer_that_reports_only_a_part_of_it_is_added_all_the_same(ask):
    """Peer bug 11 (Hermes 59541): usage objects of different providers could not be added."""
    silent = ScriptedChatModel()
    plain = ScriptedChatModel(usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    aggregator = ScriptedChatModel(usage=DETAILED)
    answer = ask(ChatMoA(proposers=[silent, plain], aggregator=aggregator), "Go.")
    assert answer.usage_metadata["total_tokens"] == 18
    assert answer.usage_metadata["output_token_details"] == {"reasoning": 2}


def test_every_call_is_priced_at_its_own_models_rate(ask):
    """Peer bug 10 (Hermes 56394): the aggregator was not counted."""
    moa = ask(mixture(), "Go.").response_metadata["moa"]
    assert [call["usage"] for call in moa["layers"][0]] == [DETAILED, DETAILED]
    assert moa["aggregator"]["usage"] == DETAILED


def tokens_in(tracer):
    return sum(usage_in(run)["total_tokens"] for run in tracer.runs() if run.run_type == "llm" and usage_in(run))


@pytest.mark.parametrize(
    "options", [{}, {"disable_streaming": True}, {"streaming": True}], ids=["default", "disable_streaming", "streaming"]
)
def test_the_models_own_tracer_counts_usage_once(ask, options):
    own, given = TreeTracer(), TreeTracer()
    answer = ask(mixture(callbacks=[own], **options), "Go.", {"callbacks": [given]})
    assert answer.usage_metadata["total_tokens"] == tokens_in(own) == tokens_in(given) == 45
    assert own.tree() == given.tree() == INSIDE


def test_a_handler_that_a_hook_of_cores_adds_counts_usage_once_and_sees_every_call(ask):
    """As `get_openai_callback` adds its own."""

    class Counting(BaseCallbackHandler):
        calls = tokens = 0

        def on_llm_end(self, response, **kwargs):
            usage = response.generations[0][0].message.usage_metadata
            self.calls += bool(usage)
            self.tokens += usage["total_tokens"] if usage else 0

    counting = Counting()
    token = hooked.set(counting)
    try:
        ask(mixture(), "Go.")
        ask(mixture(), "Go.", {"callbacks": [counting]})
    finally:
        hooked.reset(token)
    assert (counting.calls, counting.tokens) == (6, 90)


def test_usage_of_all_models_inside_of_a_runnable_is_counted():
    models = [ScriptedChatModel(usage=DETAILED, model_name=name) for name in ("lab/a", "lab/b", "lab/b")]
    chain = reduce(or_, [RunnableLambda(lambda _, model=model: model.invoke("Go.").text) for model in models])
    config, usage = count_usage({"tags": ["mine"]})
    assert chain.invoke("Go.", config) == "reply"
    assert config["tags"] == ["mine"]
    assert {name: used["total_tokens"] for name, used in usage.usage_metadata.items()} == {"lab/a": 15, "lab/b": 30}
    assert add_up(usage.usage_metadata.values())["total_tokens"] == 45


def test_in_a_chain_the_tree_hangs_under_the_chain(ask):
    tracer = TreeTracer()
    ask(ChatPromptTemplate.from_template("{q}") | mixture(), {"q": "Go."}, {"callbacks": [tracer]})
    assert len(tracer.roots) == 1
    lines = tracer.tree()
    start = lines.index((1, "llm", "ChatMoA"))
    assert [(depth - 1, kind, name) for depth, kind, name in lines[start : start + len(INSIDE)]] == INSIDE


@pytest.mark.parametrize("hand_on_config", [False, True])
def test_in_a_node_the_tree_hangs_under_the_node(ask, hand_on_config):
    model, tracer = mixture(), TreeTracer()

    def node(state, config):
        return {"messages": [model.invoke(state["messages"], *([config] if hand_on_config else []))]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", node)
    graph.add_edge(START, "ask")
    graph.compile().invoke({"messages": "Go."}, {"callbacks": [tracer]})
    assert len(tracer.roots) == 1
    lines = tracer.tree()
    start = lines.index((2, "llm", "ChatMoA"))
    assert lines[start - 1] == (1, "chain", "ask")
    assert [(depth - 2, kind, name) for depth, kind, name in lines[start:]] == INSIDE


def test_an_error_ends_every_run_of_the_tree(ask):
    tracer = TreeTracer()
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(error=RuntimeError("down")))
    with pytest.raises(RuntimeError):
        ask(model, "Go.", {"callbacks": [tracer]})
    assert len(tracer.roots) == 1
    runs = {run.name: run for run in tracer.runs()}
    assert all(run.end_time for run in runs.values())
    assert "down" in runs["ChatMoA"].error


def test_a_run_id_and_a_name_given_by_the_caller_are_the_mixtures(ask):
    from uuid import uuid4

    tracer, run_id = TreeTracer(), uuid4()
    ask(mixture(), "Go.", {"callbacks": [tracer], "run_id": run_id, "run_name": "council"})
    (root,) = tracer.roots
    assert (root.id, root.name) == (run_id, "council")


def test_a_custom_tracer_of_any_kind_gets_the_message(ask):
    answers = []

    class Watching(TreeTracer):
        def _on_llm_end(self, run):
            answers.append((run.name, run.outputs["generations"][0][0]["text"]))

    ask(mixture(), "Go.", {"callbacks": [Watching()]})
    assert sorted(answers) == [("ChatMoA", "the end"), ("a", "a"), ("aggregator", "the end"), ("b", "b")]
    assert isinstance(ask(mixture(), "Go."), AIMessage)
