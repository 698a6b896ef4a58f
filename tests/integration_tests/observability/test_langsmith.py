"""What the real LangSmith client posts of a mixture, over HTTP: one whole tree, whichever way it was asked."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import langsmith
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import add_usage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer, get_client, wait_for_all_tracers
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from openai import BadRequestError

from langchain_moa import ChatMoA, create_moa_graph
from langchain_moa._models.transport import http_clients
from langchain_moa.gates import unless_scouts_agree
from langchain_moa.middleware import MoAMiddleware
from tests.integration_tests.observability.conftest import run_snippet
from tests.langsmith_server import LangSmithServer, Run
from tests.openai_server import OpenAIServer, Reply
from tests.traces import INSIDE

KEYS = {"TOGETHER_API_KEY": "tgp-hush-hush", "OPENAI_API_KEY": "sk-hush-hush", "LANGSMITH_API_KEY": "lsv2-hush-hush"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
ALL_CALLS = {
    "input_tokens": 30,
    "output_tokens": 15,
    "total_tokens": 45,
    "input_token_details": {"cache_read": 12},
    "output_token_details": {"reasoning": 6},
}


def answer(body: dict[str, Any]) -> Reply:
    """Answer, or refuse the question that is meant to fail."""
    if "fail" not in body["messages"][-1]["content"] or body["model"] == "lab/a":
        return Reply(text=f"words of {body['model']}", usage=USAGE)
    return Reply(status=401, error="Incorrect API key.") if body["model"] == "lab/b" else Reply(status=400)


@pytest.fixture
def providers(together: Callable[..., OpenAIServer], monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    server = together(answer)
    for name in ("TOGETHER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEYS[name])
    return server


@pytest.fixture
def langsmith_server() -> Iterator[LangSmithServer]:
    forget_environment()
    with LangSmithServer() as server:
        yield server
    forget_environment()
    assert not server.errors
    assert server.keys == {KEYS["LANGSMITH_API_KEY"]}


@pytest.fixture
def by_environment(langsmith_server: LangSmithServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LangSmithServer]:
    """Switch tracing on as a user does, with nothing but the environment."""
    monkeypatch.setattr(langsmith.run_trees, "_CLIENT", None)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LANGSMITH_TRACING", "true")
        environment.setenv("LANGSMITH_ENDPOINT", langsmith_server.url)
        environment.setenv("LANGSMITH_API_KEY", KEYS["LANGSMITH_API_KEY"])
        environment.setenv("LANGSMITH_PROJECT", "moa-tests")
        forget_environment()
        client = get_client()
        until(lambda: getattr(client, "_data_available_event", None))  # from here on it compresses
        yield langsmith_server
        client.close()
    forget_environment()


def forget_environment() -> None:
    """Have LangSmith's client read the environment anew."""
    langsmith.utils.get_env_var.cache_clear()
    langsmith.utils.get_tracer_project.cache_clear()


def until(happened: Callable[[], Any]) -> None:
    """Wait for a thread of LangSmith's client, which tells nobody when it is ready."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def mixture(server: OpenAIServer, **options: Any) -> ChatMoA:
    """A proposer of Together's, one of OpenAI's, and an aggregator: every way for a key to get in."""
    by_openai = ChatOpenAI(model="lab/b", base_url=server.url, **http_clients())
    return ChatMoA(proposers=["lab/a", by_openai], aggregator="lab/writer", **options)


# -- Ways to ask ------------------------------------------------------------------------------------------------------


def invoke(model: Any, question: Any) -> AIMessage:
    return model.invoke(question)


async def ainvoke(model: Any, question: Any) -> AIMessage:
    return await model.ainvoke(question)


def stream(model: Any, question: Any) -> AIMessage:
    return reduce(add, model.stream(question))


async def astream(model: Any, question: Any) -> AIMessage:
    return reduce(add, [chunk async for chunk in model.astream(question)])


def batch(model: Any, question: Any) -> AIMessage:
    return model.batch([question])[0]


async def abatch(model: Any, question: Any) -> AIMessage:
    return (await model.abatch([question]))[0]


def events_v3(model: Any, question: Any) -> AIMessage:
    return model.stream_events(question, version="v3").output


async def aevents_v3(model: Any, question: Any) -> AIMessage:
    return await (await model.astream_events(question, version="v3"))


def alone(model: Any, way: Callable[..., Any]) -> AIMessage:
    return completed(way(model, "Go."))


def in_a_chain(model: Any, way: Callable[..., Any]) -> AIMessage:
    prompt = ChatPromptTemplate.from_template("{q}")
    if way not in (events_v3, aevents_v3):
        return completed(way(prompt | model, {"q": "Go."}))

    # A sequence has no events v3 (langchain-core 1.7): one of its steps asks for them.
    async def astep(question: Any) -> AIMessage:
        return await way(model, question)

    asynchronous = inspect.iscoroutinefunction(way)
    chain = prompt | RunnableLambda(astep if asynchronous else lambda question: way(model, question), name="ask")
    return completed(chain.ainvoke({"q": "Go."}) if asynchronous else chain.invoke({"q": "Go."}))


def in_a_node(model: Any, way: Callable[..., Any]) -> AIMessage:
    def node(state: MessagesState) -> Any:
        return {"messages": [way(model, state["messages"])]}

    async def anode(state: MessagesState) -> Any:
        return {"messages": [await way(model, state["messages"])]}

    asynchronous = inspect.iscoroutinefunction(way)
    graph = StateGraph(MessagesState).add_node("ask", anode if asynchronous else node).add_edge(START, "ask").compile()
    question = {"messages": "Go."}
    return completed(graph.ainvoke(question) if asynchronous else graph.invoke(question))["messages"][-1]


def completed(outcome: Any) -> Any:
    async def wait() -> Any:
        return await outcome

    return asyncio.run(wait()) if inspect.isawaitable(outcome) else outcome


quiet = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # events v3 are in beta
every_way = pytest.mark.parametrize(
    "way",
    [invoke, ainvoke, stream, astream, batch, abatch, events_v3, aevents_v3],
    ids=lambda way: way.__name__,
)
every_place = pytest.mark.parametrize("place", [alone, in_a_chain, in_a_node], ids=lambda place: place.__name__)


# -- What LangSmith makes of it ---------------------------------------------------------------------------------------


def runs_by_name(server: LangSmithServer) -> dict[str, Run]:
    return {run["name"]: run for run in server.runs.values() if run["run_type"] == "llm"}


def metadata(run: Run) -> dict[str, Any]:
    return run["extra"]["metadata"]


def counted(run: Run) -> list[dict[str, Any]]:
    """Return each usage that a run carries in a place where LangSmith looks for it."""
    outputs = run.get("outputs") or {}
    generations = [generation for prompt in outputs.get("generations", []) for generation in prompt]
    messages = [generation["message"]["kwargs"].get("usage_metadata") for generation in generations]
    return [usage for usage in [metadata(run).get("usage_metadata"), outputs.get("usage_metadata"), *messages] if usage]


def total(server: LangSmithServer) -> Any:
    """Add up the tokens of the model runs as LangSmith does: one usage each."""
    usages = [told[0] for run in server.runs.values() if (told := counted(run))]
    tokens = [{kind: used for kind, used in usage.items() if not kind.endswith("_cost")} for usage in usages]
    return reduce(add_usage, tokens, None)


def assert_whole(server: LangSmithServer, answer: AIMessage) -> None:
    """One tree, in which every run was begun once, has ended and says who it is; usage once; no key."""
    assert answer.text == "words of lab/writer"
    assert len(server.roots()) == 1
    tree = server.tree()
    (start,) = [index for index, line in enumerate(tree) if line[2] == "ChatMoA"]
    depth = tree[start][0]
    assert [(line[0] - depth, *line[1:]) for line in tree[start : start + len(INSIDE)]] == INSIDE
    assert [kind for _, kind, _ in tree].count("llm") == 4
    assert sorted(server.begun) == sorted(server.runs)
    assert all(run["end_time"] and not run.get("error") for run in server.runs.values())

    runs = runs_by_name(server)
    for proposer in "ab":
        assert "moa:proposer" in runs[proposer]["tags"]
        about = {"moa_role": "proposer", "moa_layer": 1, "moa_proposer": proposer, "ls_model_name": f"lab/{proposer}"}
        assert about.items() <= metadata(runs[proposer]).items()
    assert "moa:aggregator" in runs["aggregator"]["tags"]
    assert {"moa_role": "aggregator", "ls_model_name": "lab/writer"}.items() <= metadata(runs["aggregator"]).items()
    assert {"ls_provider": "moa", "ls_model_name": "moa"}.items() <= metadata(runs["ChatMoA"]).items()
    assert not [tag for tag in runs["ChatMoA"]["tags"] if tag.startswith("moa:")]

    assert not counted(runs["ChatMoA"])  # LangSmith adds the children's usage up
    assert all(usage == counted(run)[0] for run in runs.values() for usage in counted(run))
    assert total(server) == answer.usage_metadata == ALL_CALLS
    assert_no_key(server)


def assert_no_key(server: LangSmithServer) -> None:
    posted = b"".join(server.posted)
    assert b"words of lab/a" in posted
    assert not [name for name, key in KEYS.items() if key.encode() in posted]
    assert b"hush" not in posted


@quiet
@every_place
@every_way
def test_the_environment_is_enough_for_one_whole_tree(by_environment, providers, place, way):
    answer = place(mixture(providers), way)
    wait_for_all_tracers()
    assert_whole(by_environment, answer)
    assert by_environment.encodings == {"zstd"}
    sent = [headers["authorization"] for headers in providers.headers]
    assert sorted(sent) == ["Bearer sk-hush-hush", "Bearer tgp-hush-hush", "Bearer tgp-hush-hush"]
    assert {root["session_name"] for root in by_environment.roots()} == {"moa-tests"}


@quiet
@every_way
def test_a_tracer_of_the_callers_gets_the_same_tree(langsmith_server, providers, way):
    client = langsmith.Client(api_url=langsmith_server.url, api_key=KEYS["LANGSMITH_API_KEY"])
    config = {"callbacks": [LangChainTracer(client=client)], "tags": ["mine"], "metadata": {"user": "u1"}}
    answer = alone(mixture(providers).with_config(config), way)
    client.close()
    assert_whole(langsmith_server, answer)
    for run in langsmith_server.runs.values():
        assert "mine" in run["tags"]
        assert metadata(run)["user"] == "u1"


@quiet
@every_way
def test_the_runs_inside_tell_of_their_own_model_and_arguments_and_not_of_the_mixtures(by_environment, providers, way):
    completed(way(mixture(providers).bind(seed=5), "Go."))
    wait_for_all_tracers()
    runs = runs_by_name(by_environment)
    assert [body.get("seed") for body in providers.requests if body["model"] != "lab/writer"] == [None, None]
    for name, model in {"a": "lab/a", "b": "lab/b", "aggregator": "lab/writer"}.items():
        assert metadata(runs[name])["model"] == model
        assert "layers" not in metadata(runs[name])
    assert "seed" not in {*metadata(runs["a"]), *metadata(runs["b"])}
    assert metadata(runs["aggregator"])["seed"] == 5
    chains = [run for run in by_environment.runs.values() if run["run_type"] == "chain"]
    assert not [run["name"] for run in chains if {"ls_model_name", "seed"} & set(metadata(run))]


PRICES = {
    "lab/a": {"input": 1, "output": 2, "cached": 0.5},
    "lab/b": {"input": 10, "output": 20},
    "lab/writer": {"input": 100, "output": 200},
}
# Of 6 fresh and 4 cached tokens in, 5 out.
COSTS = {"a": (8e-6, 10e-6), "b": (100e-6, 100e-6), "aggregator": (1000e-6, 1000e-6)}


def dollars(run: Run) -> list[tuple[float, float, float]]:
    """Return the costs, of input, output and in all, that a run carries in each place where LangSmith looks."""
    told = [usage for usage in counted(run) if "total_cost" in usage]
    return [(usage["input_cost"], usage["output_cost"], usage["total_cost"]) for usage in told]


@quiet
@every_place
@every_way
def test_each_model_run_carries_its_cost_and_the_mixtures_run_none(by_environment, providers, place, way):
    answer = place(mixture(providers, prices=PRICES), way)
    wait_for_all_tracers()
    runs = runs_by_name(by_environment)
    for name, (read, written) in COSTS.items():
        assert dollars(runs[name]) == [pytest.approx((read, written, read + written))] * len(counted(runs[name]))
        assert dollars(runs[name])
    told = [run for run in by_environment.runs.values() if dollars(run)]
    assert len(told) == 3
    assert answer.response_metadata["moa"]["cost"]["total"] == pytest.approx(sum(dollars(run)[0][2] for run in told))
    assert answer.usage_metadata == ALL_CALLS


@pytest.mark.parametrize("way", [invoke, ainvoke], ids=lambda way: way.__name__)
def test_the_runs_of_a_graph_of_ones_own_carry_their_costs(by_environment, providers, way):
    by_openai = ChatOpenAI(model="lab/b", base_url=providers.url, **http_clients())
    graph = create_moa_graph(proposers=["lab/a", by_openai], aggregator="lab/writer", prices=PRICES).compile()
    completed(way(graph, {"messages": "Go."}))
    wait_for_all_tracers()
    assert {name: dollars(run)[0][:2] for name, run in runs_by_name(by_environment).items()} == {
        name: pytest.approx(costs) for name, costs in COSTS.items()
    }


def test_the_models_inside_of_an_agent_and_of_a_gate_carry_their_costs(by_environment, providers, ask):
    agent = create_agent(ChatOpenAI(model="lab/b", base_url=providers.url, **http_clients())) | (
        lambda state: state["messages"][-1]
    )
    asked = {"messages": [HumanMessage("Go.")]}
    proposer = RunnableLambda(lambda messages: asked) | agent
    gate = unless_scouts_agree("lab/a", "lab/writer")
    model = ChatMoA(proposers=[proposer], aggregator="lab/writer", fan_out=gate, prices=PRICES)
    answer = ask(model, "Go.")
    wait_for_all_tracers()
    paid = [dollars(run)[0][2] for run in by_environment.runs.values() if dollars(run)]
    assert len(paid) == len(providers.requests) == 4
    assert answer.response_metadata["moa"]["cost"] == {"total": pytest.approx(sum(paid)), "unpriced": []}


def test_what_has_no_price_has_no_cost_in_a_trace(by_environment, providers):
    mixture(providers, prices={"lab/a": PRICES["lab/a"]}).invoke("Go.")
    wait_for_all_tracers()
    assert [run["name"] for run in by_environment.runs.values() if dollars(run)] == ["a"]


def test_a_mixture_inside_of_another_is_priced_once(by_environment, providers):
    inner = mixture(providers, prices=PRICES)
    answer = ChatMoA(proposers=[inner], aggregator="lab/writer", prices=PRICES).invoke("Go.")
    wait_for_all_tracers()
    paid = [dollars(run)[0][2] for run in by_environment.runs.values() if dollars(run)]
    assert len(paid) == len(providers.requests) == 4
    assert answer.response_metadata["moa"]["cost"]["total"] == pytest.approx(sum(paid))


@pytest.mark.parametrize("way", [batch, abatch], ids=lambda way: way.__name__)
def test_a_batch_has_a_tree_for_each_of_its_questions(by_environment, providers, way):
    questions = ["one", "two", "three"]
    model = mixture(providers)
    completed(model.batch(questions) if way is batch else model.abatch(questions))
    wait_for_all_tracers()
    assert by_environment.tree() == INSIDE * 3
    asked = [root["inputs"]["messages"][0][0]["kwargs"]["content"] for root in by_environment.roots()]
    assert sorted(asked) == sorted(questions)
    assert total(by_environment)["total_tokens"] == 3 * 45


@quiet
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_events_v3_of_a_graph_around_the_mixture_are_one_tree(by_environment, providers, asynchronous):
    model = mixture(providers)

    def node(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def anode(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("ask", anode if asynchronous else node).add_edge(START, "ask").compile()

    async def watch() -> Any:
        return await (await graph.astream_events({"messages": "Go."}, version="v3")).output()

    state = asyncio.run(watch()) if asynchronous else graph.stream_events({"messages": "Go."}, version="v3").output
    wait_for_all_tracers()
    assert_whole(by_environment, state["messages"][-1])


@pytest.mark.parametrize("when", ["user_turn", "tool"])
def test_a_panel_beside_an_agents_model_is_in_the_agents_tree_and_counted_once(by_environment, together, ask, when):
    consult = {"name": "consult_panel", "arguments": '{"question": "Go?"}'}

    def act(body: dict[str, Any]) -> Reply:
        calls = when == "tool" and body["model"] == "lab/writer" and body["messages"][-1]["role"] == "user"
        call = {"id": "call_1", "type": "function", "function": consult}
        return Reply(text=None, tool_calls=(call,), usage=USAGE) if calls else answer(body)

    server = together(act)
    streaming = {"stream_mode": "messages"} if "stream" in ask.__name__ else {}
    own = ChatOpenAI(model="lab/writer", base_url=server.url, api_key="k", stream_usage=True, **http_clients())
    panel = MoAMiddleware(proposers=["lab/a", "lab/b"], when=when)
    ask(create_agent(own, middleware=[panel]), {"messages": [HumanMessage("Go.")]}, **streaming)
    wait_for_all_tracers()
    (root,) = by_environment.roots()
    assert root["name"] == "LangGraph"
    tree = by_environment.tree()
    (start,) = [index for index, line in enumerate(tree) if line[2] == "panel"]
    depth, inside = tree[start][0], ["layer_1_proposer_01", "a", "layer_1_proposer_02", "b", "references"]
    assert [(line[0] - depth, line[2]) for line in tree[start + 1 : start + 6]] == list(
        zip([1, 2, 1, 2, 1], inside, strict=True)
    )
    above = next(name for level, _, name in reversed(tree[:start]) if level < depth)
    assert above.endswith("wrap_model_call") if when == "user_turn" else above == "consult_panel"
    assert len(server.requests) == len([line for line in tree if line[1] == "llm"]) == (4 if when == "tool" else 3)
    assert total(by_environment)["total_tokens"] == 15 * len(server.requests)
    assert all(run["end_time"] and not run.get("error") for run in by_environment.runs.values())


def test_in_an_agent_there_is_one_tree_with_every_call(by_environment, providers, ask):
    streaming = {"stream_mode": "messages"} if "stream" in ask.__name__ else {}
    ask(create_agent(mixture(providers)), {"messages": [HumanMessage("Go.")]}, **streaming)
    wait_for_all_tracers()
    (root,) = by_environment.roots()
    tree = by_environment.tree()
    start = tree.index((2, "llm", "ChatMoA"))
    assert tree[:start] == [(0, "chain", root["name"]), (1, "chain", "model")]
    assert [(depth - 2, kind, name) for depth, kind, name in tree[start:]] == INSIDE
    assert total(by_environment) == ALL_CALLS


def test_the_guides_snippet_shows_every_call(by_environment, providers):
    run_snippet("LangSmith")
    wait_for_all_tracers()
    assert by_environment.tree()[:2] == [(0, "llm", "ChatMoA"), (1, "chain", "MoA")]
    assert total(by_environment)["total_tokens"] == 15 * len(providers.requests)


def test_rounds_are_read_from_the_names_of_the_nodes(by_environment, providers):
    mixture(providers, rounds=2).invoke("Go.")
    wait_for_all_tracers()
    nodes = [name for depth, _, name in by_environment.tree() if depth == 2]
    assert nodes == [f"layer_{layer}_proposer_0{place}" for layer in (1, 2) for place in (1, 2)] + ["aggregator"]
    layers = [metadata(run)["moa_layer"] for run in by_environment.runs.values() if run["name"] == "a"]
    assert sorted(layers) == [1, 2]


@pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream], ids=lambda way: way.__name__)
def test_a_failure_is_told_where_it_happened_and_every_run_ends(by_environment, providers, way):
    with pytest.raises(BadRequestError, match="scripted failure"):
        completed(way(mixture(providers), "Please fail."))
    wait_for_all_tracers()
    assert by_environment.tree() == INSIDE
    assert all(run["end_time"] for run in by_environment.runs.values())
    runs = runs_by_name(by_environment)
    assert "Incorrect API key" in runs["b"]["error"]
    assert "scripted failure" in runs["aggregator"]["error"]
    assert "scripted failure" in runs["ChatMoA"]["error"]
    assert not runs["a"].get("error")
    assert total(by_environment)["total_tokens"] == 15
    assert_no_key(by_environment)
