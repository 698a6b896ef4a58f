"""Budgets of one call: what would pass them is left out and named, and nothing that runs is canceled."""

import re
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA, create_moa_graph
from langchain_moa.middleware import MoAMiddleware
from tests.fakes import CallingChatModel, ScriptedChatModel
from tests.openai_server import Reply

# A dollar for a thousand tokens, which is what every call takes.
PRICES = {f"lab/{name}": {"input": 1_000, "output": 1_000} for name in ("a", "b", "writer")}
USAGE = {"prompt_tokens": 800, "completion_tokens": 200, "total_tokens": 1_000}
OPTIONS = {"proposers": ["lab/a", "lab/b"], "aggregator": "lab/writer"}


def verdict():
    function = {"name": "Verdict", "arguments": '{"best": 2, "reason": "short"}'}
    return Reply(text=None, tool_calls=({"id": "call_1", "type": "function", "function": function},), usage=USAGE)


@pytest.fixture
def server(together):
    def answer(body):
        if body.get("tools"):
            return verdict()
        return Reply(text=f"words {len(body['messages'])} of {body['model']}", usage=USAGE)

    return together(answer)


@pytest.fixture(params=["max_cost", "max_total_tokens"])
def budget(request):
    """Options with a budget of so many calls, in dollars or in tokens."""

    def of(calls):
        if request.param == "max_cost":
            return {"max_cost": calls, "prices": PRICES}
        return {"max_total_tokens": round(1_000 * calls)}

    return of


def account(answer):
    return answer.response_metadata["moa"]


def skipped(answer):
    assert all(entry["reason"] == "budget_reached" for entry in account(answer)["degraded"])
    return [entry["skipped"] for entry in account(answer)["degraded"]]


@pytest.mark.parametrize(
    ("calls", "requests", "left_out"),
    [
        (7, 7, []),
        (6.9, 5, ["layer_3"]),
        (5, 5, ["layer_3"]),
        (4.9, 3, ["layer_2", "layer_3"]),
        (3, 3, ["layer_2", "layer_3"]),
    ],
)
def test_a_layer_is_left_out_when_it_and_the_answer_would_pass_the_budget(
    ask, server, budget, calls, requests, left_out
):
    answer = ask(ChatMoA(**OPTIONS, rounds=3, **budget(calls)), "Hi")
    assert skipped(answer) == left_out
    assert len(server.requests) == requests
    assert answer.text == "words 2 of lab/writer"
    statuses = [{call["status"] for call in layer} for layer in account(answer)["layers"]]
    assert statuses == [{"ok"}] * (3 - len(left_out)) + [{"skipped"}] * len(left_out)
    assert answer.usage_metadata["total_tokens"] == 1_000 * requests


def test_the_aggregator_gets_what_the_last_layer_gave_that_was_asked(ask, server, budget):
    ask(ChatMoA(**OPTIONS, rounds=3, **budget(5)), "Hi")
    seen = server.requests[-1]["messages"][0]["content"]
    # The second layer saw a system message with references beside the question.
    assert "1. words 2 of lab/a\n2. words 2 of lab/b" in seen


def test_the_first_proposal_is_the_answer_when_another_would_pass_the_budget(ask, server, budget):
    answer = ask(ChatMoA(**OPTIONS, rounds=2, **budget(2.5)), "Hi")
    assert answer.text == "words 1 of lab/a"
    assert len(server.requests) == 2
    assert account(answer)["aggregator"] is None
    assert account(answer)["degraded"] == [
        {"reason": "budget_reached", "skipped": "layer_2"},
        {"reason": "budget_reached", "skipped": "answer", "instead": "a"},
    ]


def test_what_only_the_aggregator_can_answer_it_answers_and_a_passed_budget_is_told(ask, server, budget):
    options = budget(2.5)
    answer = ask(ChatMoA(**OPTIONS, **options).bind_tools([look_up]), "Hi")
    assert answer.tool_calls
    assert len(server.requests) == 3
    name = next(iter(set(options) - {"prices"}))
    used = 3 if name == "max_cost" else 3_000
    assert account(answer)["degraded"] == [
        {"reason": "budget_passed", "budget": name, "limit": options[name], "used": used}
    ]


def look_up(n: int) -> str:
    """Look something up."""
    return str(n)


def test_the_aggregator_alone_is_always_asked(ask, server, budget):
    answer = ask(ChatMoA(**OPTIONS, fan_out=lambda messages: False, **budget(1)), "Hi")
    assert answer.text == "words 1 of lab/writer"
    assert account(answer)["degraded"] == []


@pytest.mark.parametrize(("calls", "left_out"), [(3, []), (2.9, ["select", "answer"])])
def test_no_verdict_is_asked_for_that_would_pass_the_budget(ask, server, budget, calls, left_out):
    answer = ask(ChatMoA(**OPTIONS, aggregation="select", **budget(calls)), "Hi")
    assert skipped(answer) == left_out
    assert len(server.requests) == 2 + (not left_out)
    # A judge sees the candidates in a random order, and this one takes the second.
    assert answer.text in ["words 1 of lab/a", *([] if left_out else ["words 1 of lab/b"])]


@pytest.mark.parametrize(("calls", "requests", "left_out"), [(4, 4, []), (3.9, 3, ["analyze"])])
def test_no_analysis_is_asked_for_that_would_leave_nothing_for_the_answer(
    ask, together, budget, calls, requests, left_out
):
    lists = ("consensus", "contradictions", "partial_coverage", "unique_insights", "blind_spots")
    function = {"name": "Analysis", "arguments": "{" + ", ".join(f'"{name}": []' for name in lists) + "}"}
    calling = Reply(text=None, tool_calls=({"id": "1", "type": "function", "function": function},), usage=USAGE)
    server = together(lambda body: calling if body.get("tools") else Reply(text="words", usage=USAGE))
    answer = ask(ChatMoA(**OPTIONS, aggregation="analyze", **budget(calls)), "Hi")
    assert skipped(answer) == left_out
    assert len(server.requests) == requests
    assert account(answer)["aggregation"] == ("synthesize" if left_out else "analyze")


@pytest.mark.parametrize(("calls", "left_out"), [(6, []), (5.9, ["pass_1"])])
def test_references_of_a_pass_that_is_left_out_are_kept(ask, server, budget, calls, left_out):
    model = ChatMoA(proposers=["lab/a"] * 4, aggregator="lab/writer", window=3, reserve=1, **budget(calls))
    answer = ask(model, "Hi")
    # The last reference fits into the window.
    assert skipped(answer) == left_out
    assert len(server.requests) == 5 + (not left_out)
    seen = re.findall(r"^\d\. (.*)$", server.requests[-1]["messages"][0]["content"], re.MULTILINE)
    assert len(seen) == (4 if left_out else 2)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_graph_keeps_its_budget_too(server, budget, way):
    graph = create_moa_graph(**OPTIONS, rounds=3, **budget(5)).compile()
    question = {"messages": [HumanMessage("Hi")]}
    state = graph.invoke(question) if way == "invoke" else await graph.ainvoke(question)
    assert skipped(state["messages"][-1]) == ["layer_3"]
    assert len(server.requests) == 5


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_panel_keeps_its_budget_too(server, budget, way):
    acting = ScriptedChatModel(reply="done")
    panel = MoAMiddleware(proposers=["lab/a", "lab/b"], rounds=3, **budget(5))
    agent, question = create_agent(acting, middleware=[panel]), {"messages": [HumanMessage("Hi")]}
    state = agent.invoke(question) if way == "invoke" else await agent.ainvoke(question)
    assert account(state["messages"][-1])["panel"]["degraded"] == [{"reason": "budget_reached", "skipped": "layer_3"}]
    assert len(server.requests) == 4
    assert "2. words 1 of lab/b" in str(acting.seen[0])


def test_a_layer_that_was_left_out_stays_so_for_the_user_turn(ask):
    usage = {"input_tokens": 1_000, "output_tokens": 0, "total_tokens": 1_000}
    acting, proposer = CallingChatModel(usage=usage), ScriptedChatModel(usage=usage)
    model = ChatMoA(proposers=[proposer], rounds=2, aggregator=acting, max_total_tokens=2_000).bind_tools([look_up])
    first = ask(model, [HumanMessage("Go.")])
    step = AIMessage(**first.model_dump(exclude={"type"}))
    second = ask(model, [HumanMessage("Go."), step, ToolMessage("1", tool_call_id=first.tool_calls[0]["id"])])
    assert [skipped(answer) for answer in (first, second)] == [["layer_2"], ["layer_2"]]
    assert len(proposer.seen) == 1
    assert all("1. reply" in str(seen) for seen in acting.seen)


def test_proposers_that_failed_are_still_the_reason_of_an_error(ask, together):
    together(lambda body: Reply(status=400))
    with pytest.raises(Exception, match="Layer 1 gave 0 references"):
        ask(ChatMoA(**OPTIONS, rounds=2, max_total_tokens=1), "Hi")


# -- Prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [ChatMoA, create_moa_graph])
def test_a_budget_in_dollars_needs_the_price_of_every_model(build):
    prices = {"lab/a": PRICES["lab/a"]}
    with pytest.raises(ValueError, match=r"no price is known for 'lab/writer', 'lab/b': give prices=\{'lab/writer': "):
        build(**OPTIONS, max_cost=1, prices=prices, api_key="k")


@pytest.mark.parametrize("build", [ChatMoA, create_moa_graph])
def test_a_budget_in_dollars_needs_prices(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ValueError, match=r"max_cost needs prices: pip install .langchain-moa\[prices\]"):
        build(**OPTIONS, max_cost=1, api_key="k")


def test_the_line_up_of_today_takes_a_budget():
    assert ChatMoA(max_cost=1, api_key="k").max_cost == 1


def test_models_whose_part_is_unknown_are_named(ask, together):
    together(lambda body: Reply(text="words", usage=None))
    unknown = RunnableLambda(lambda messages: AIMessage("hm", response_metadata={"model_name": "lab/unknown"}))
    options = {"proposers": [unknown], "aggregator": "lab/writer", "prices": PRICES}
    assert account(ask(ChatMoA(**options, max_cost=1), "Hi"))["degraded"] == [
        {"reason": "budget_unknown", "budget": "max_cost", "models": ["lab/unknown", "lab/writer"]}
    ]
    assert account(ask(ChatMoA(**options, max_total_tokens=1), "Hi"))["degraded"] == [
        {"reason": "budget_unknown", "budget": "max_total_tokens", "models": ["lab/unknown", "lab/writer"]}
    ]


@pytest.mark.parametrize(("option", "value"), [("max_cost", 0), ("max_cost", -1), ("max_total_tokens", 0)])
def test_a_budget_is_more_than_nothing(option, value):
    with pytest.raises(ValueError, match=option):
        ChatMoA(**OPTIONS, api_key="k", **{option: value})
