"""What an answer cost, in US dollars: call by call and in all."""

import os
import subprocess
import sys
import threading

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA, create_moa_graph, prices
from langchain_moa._models.transport import http_clients
from langchain_moa._runtime import bills
from langchain_moa.gates import unless_scouts_agree
from langchain_moa.middleware import MoAMiddleware
from langchain_moa.prices import load_package
from tests.fakes import CallingChatModel, ScriptedChatModel
from tests.openai_server import Reply

PRICES = {
    "lab/a": {"input": 1, "output": 2},
    "lab/b": {"input": 10, "output": 20, "cached": 5},
    "lab/writer": {"input": 100, "output": 200},
}
OPTIONS = {"proposers": ["lab/a", "lab/b"], "aggregator": "lab/writer"}
USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 300},
}
# Of 600 fresh and 400 cached tokens read, and 500 written of which 300 are reasoning.
COSTS = {"lab/a": 0.002, "lab/b": 0.018, "lab/writer": 0.2}


@pytest.fixture
def priced(together):
    """A server whose every call uses the same tokens."""
    return together(lambda body: Reply(text=f"words of {body['model']}", usage=USAGE))


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)


def account(answer):
    return answer.response_metadata["moa"]


def calls(answer):
    moa = account(answer)
    return [*(call for layer in moa["layers"] for call in layer), *moa.get("steps", []), moa["aggregator"]]


def test_each_call_tells_its_cost_and_the_answer_the_sum(ask, priced):
    answer = ask(ChatMoA(**OPTIONS, prices=PRICES), "Hi")
    assert {call["model"]: call["cost"] for call in calls(answer)} == COSTS
    assert account(answer)["cost"] == {"total": 0.22, "unpriced": []}
    assert len(priced.requests) == 3
    assert set(answer.usage_metadata) == {
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "input_token_details",
        "output_token_details",
    }


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_graph_tells_the_cost_too(priced, way):
    graph = create_moa_graph(**OPTIONS, prices=PRICES).compile()
    question = {"messages": [HumanMessage("Hi")]}
    state = graph.invoke(question) if way == "invoke" else await graph.ainvoke(question)
    assert account(state["messages"][-1])["cost"] == {"total": 0.22, "unpriced": []}


def test_what_has_no_price_is_named_and_not_free(ask, priced):
    answer = ask(ChatMoA(**OPTIONS, prices={"lab/a": PRICES["lab/a"]}), "Hi")
    assert account(answer)["cost"] == {"total": 0.002, "unpriced": ["lab/b", "lab/writer"]}
    assert [call["cost"] for call in calls(answer)] == [0.002, None, None]


def test_without_any_price_the_total_is_unknown(ask, priced):
    assert account(ask(ChatMoA(**OPTIONS), "Hi"))["cost"] == {
        "total": None,
        "unpriced": ["lab/a", "lab/b", "lab/writer"],
    }


def test_a_call_without_a_usage_has_no_cost(ask, together):
    together(lambda body: Reply(text="words", usage=None))
    assert account(ask(ChatMoA(**OPTIONS, prices=PRICES), "Hi"))["cost"] == {
        "total": None,
        "unpriced": ["lab/a", "lab/b", "lab/writer"],
    }


@pytest.mark.usefixtures("no_package")
def test_without_prices_nothing_tells_of_costs(ask, priced):
    answer = ask(ChatMoA(**OPTIONS), "Hi")
    assert "cost" not in account(answer)
    assert not [call for call in calls(answer) if {"cost", "unpriced"} & set(call)]


def test_the_package_prices_the_default_line_up(ask, priced):
    moa = account(ask(ChatMoA(), "Hi"))
    assert moa["cost"]["unpriced"] == []
    gemma = next(call for call in moa["layers"][0] if call["model"] == "google/gemma-4-31B-it")
    assert gemma["cost"] == pytest.approx((1_000 * 0.2 + 500 * 0.5) / 1e6)
    assert moa["cost"]["total"] > gemma["cost"]


def test_a_failed_call_and_one_that_was_left_out_cost_nothing_that_is_known(ask, together):
    together(
        {"lab/a": Reply(status=400), "lab/b": Reply(usage=USAGE, text="x"), "lab/writer": Reply(usage=USAGE, text="x")}
    )
    answer = ask(ChatMoA(**OPTIONS, prices=PRICES, fan_out=lambda messages: "ask" in messages[-1].text), "ask")
    assert "cost" not in account(answer)["layers"][0][0]
    assert account(answer)["cost"] == {"total": 0.218, "unpriced": []}


def verdict():
    function = {"name": "Verdict", "arguments": '{"best": 2, "reason": "short"}'}
    return Reply(text=None, tool_calls=({"id": "call_1", "type": "function", "function": function},), usage=USAGE)


def test_judges_and_passes_are_counted(ask, together):
    together(lambda body: verdict() if body.get("tools") else Reply(text="words", usage=USAGE))
    selected = ask(ChatMoA(**OPTIONS, prices=PRICES, aggregation="select"), "Hi")
    assert [step["cost"] for step in account(selected)["steps"]] == [0.2]
    assert account(selected)["cost"]["total"] == 0.22
    passed = ask(ChatMoA(proposers=["lab/a"] * 4, aggregator="lab/writer", window=3, reserve=1, prices=PRICES), "Hi")
    assert [step["cost"] for step in account(passed)["steps"]] == [0.2]
    assert account(passed)["cost"]["total"] == 0.408


def test_a_gates_models_are_counted_by_their_own_prices(ask, priced):
    gate = unless_scouts_agree("lab/a", "lab/b")
    moa = account(ask(ChatMoA(**OPTIONS, prices=PRICES, fan_out=gate), "Hi"))
    assert moa["gate"]["cost"] == 0.02
    assert moa["cost"]["total"] == 0.24


@pytest.mark.parametrize(
    ("table", "costs", "unpriced"),
    [(PRICES, [0.02, 0.002], []), ({"lab/b": PRICES["lab/b"]}, [0.018, None], ["lab/a", "lab/writer"])],
)
def test_the_models_inside_of_an_agent_are_counted_by_their_own_prices(ask, priced, table, costs, unpriced):
    first, second = (
        ChatOpenAI(model=name, base_url=priced.url, api_key="k", **http_clients()) for name in ("lab/a", "lab/b")
    )
    agent = first | RunnableLambda(lambda said: [HumanMessage(said.text)]) | second
    moa = account(ask(ChatMoA(proposers=[agent, "lab/a"], aggregator="lab/writer", prices=table), "Hi"))
    assert [call["cost"] for call in moa["layers"][0]] == costs
    assert moa["cost"]["unpriced"] == unpriced


def test_a_mixture_inside_of_another_costs_what_it_says(ask, priced):
    inner = ChatMoA(**OPTIONS, prices={"lab/a": PRICES["lab/a"], "lab/writer": PRICES["lab/writer"]})
    outer = ChatMoA(proposers=[inner, "lab/a"], aggregator="lab/writer", prices=PRICES)
    moa = account(ask(outer, "Hi"))
    assert [call["cost"] for call in moa["layers"][0]] == [0.202, 0.002]
    assert moa["cost"] == {"total": 0.404, "unpriced": ["lab/b"]}


def test_an_answer_out_of_a_cache_costs_nothing(ask, priced):
    cached = ChatOpenAI(model="lab/a", base_url=priced.url, api_key="k", cache=InMemoryCache(), **http_clients())
    model = ChatMoA(proposers=[cached, "lab/b"], aggregator="lab/writer", prices=PRICES)
    assert [account(ask(model, "Hi"))["layers"][0][0]["cost"] for _ in range(2)] == [0.002, 0]


def test_references_of_an_earlier_step_cost_nothing_again(ask):
    usage = {"input_tokens": 1_000, "output_tokens": 0, "total_tokens": 1_000}
    acting = CallingChatModel(usage=usage, model_name="lab/writer")
    proposer = ScriptedChatModel(usage=usage, model_name="lab/a")
    model = ChatMoA(proposers=[proposer], aggregator=acting, prices=PRICES).bind_tools([look_up])
    first = ask(model, [HumanMessage("Go.")])
    result = {"role": "tool", "content": "1", "tool_call_id": first.tool_calls[0]["id"]}
    second = ask(model, [HumanMessage("Go."), AIMessage(**first.model_dump(exclude={"type"})), result])
    assert [account(answer)["cost"]["total"] for answer in (first, second)] == [0.101, 0.1]
    assert len(proposer.seen) == 1


def look_up(n: int) -> str:
    """Look something up."""
    return str(n)


class Router(ScriptedChatModel):
    """Tells what it charged, as langchain-openrouter does."""

    def _get_ls_params(self, stop=None, **kwargs):
        return {"ls_provider": "openrouter", "ls_model_name": self.model_name}

    def _result(self, text):
        message = AIMessage(text, usage_metadata=self.usage, response_metadata={"cost": 0.5, **self._metadata()})
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_provider_that_tells_what_it_charged_is_taken_at_its_word():
    model = ChatMoA(proposers=[Router(model_name="lab/a")], aggregator="lab/writer", prices=PRICES, api_key="k")
    ((call,),) = [account(model.model_copy(update={"aggregator": Router()}).invoke("Hi"))["layers"][0]]
    assert call["cost"] == 0.5


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_panel_beside_an_agents_own_model_tells_its_cost(priced, way):
    acting = ScriptedChatModel(reply="done")
    panel = MoAMiddleware(proposers=["lab/a", "lab/b"], prices=PRICES)
    agent, question = create_agent(acting, middleware=[panel]), {"messages": [HumanMessage("Hi")]}
    state = agent.invoke(question) if way == "invoke" else await agent.ainvoke(question)
    told = account(state["messages"][-1])["panel"]
    assert [call["cost"] for call in told["layers"][0]] == [0.002, 0.018]
    assert told["cost"] == {"total": 0.02, "unpriced": []}


@pytest.mark.parametrize("told", [{"moa": "yes"}, {"moa": {"cost": 3}}, {"model_name": ["lab/a"]}, {"cost": "much"}])
def test_odd_metadata_of_a_proposal_ends_no_call(ask, priced, told):
    odd = RunnableLambda(lambda messages: AIMessage("odd", response_metadata=told))
    moa = account(ask(ChatMoA(proposers=[odd, "lab/a"], aggregator="lab/writer", prices=PRICES), "Hi"))
    assert moa["cost"] == {"total": 0.202, "unpriced": ["RunnableLambda"]}


def test_progress_tells_the_cost_of_a_proposal(priced):
    ends = []
    for event in (
        create_moa_graph(**OPTIONS, prices=PRICES)
        .compile()
        .stream({"messages": [HumanMessage("Hi")]}, stream_mode="custom")
    ):
        ends += [event["cost"]] if event["event"] == "moa_proposer_end" else []
    assert sorted(ends) == [0.002, 0.018]


@pytest.mark.parametrize("build", [ChatMoA, create_moa_graph])
def test_a_malformed_price_is_refused_by_the_models_name(build):
    with pytest.raises(ValueError, match=r"prices: the price of 'lab/a' is \{'input': 1\}"):
        build(**OPTIONS, prices={"lab/a": {"input": 1}}, api_key="k")


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_no_token_waits_for_prices_that_are_still_loading(priced, monkeypatch, way):
    began, may_end = threading.Event(), threading.Event()

    def load():
        began.set()
        assert may_end.wait(30)
        return load_package()

    monkeypatch.setattr(prices, "_is_loaded", False)
    for name, value in {"_loading": None, "load_package": load}.items():
        monkeypatch.setattr(bills, name, value)
    model = ChatMoA(**OPTIONS, prices=PRICES)
    assert began.wait(30)
    answer = AIMessageChunk("")
    async for chunk in model.astream("Hi") if way == "astream" else aiter_of(model.stream("Hi")):
        answer += chunk
        if answer.text == "words of lab/writer":
            may_end.set()
    assert {call["model"]: call["cost"] for call in calls(answer)} == COSTS
    assert account(answer)["cost"]["total"] == 0.22


async def aiter_of(items):
    for item in items:
        yield item


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_forks_as_the_package_is_loaded_has_prices_in_its_child():
    code = """
import os
from langchain_moa import ChatMoA
from langchain_moa._models.transport import http_clients
from langchain_moa.prices import find_prices
ChatMoA(proposers=["lab/a"], aggregator="lab/a", api_key="k")
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
assert find_prices(None).cost("gpt-4o", {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2})
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
