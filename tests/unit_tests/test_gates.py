"""Rules for `fan_out`: when a question is not worth the proposers."""

from functools import partial

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA
from langchain_moa.gates import unless_easy, unless_scouts_agree, unless_short_follow_up, unless_small_talk
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.traces import TreeTracer

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def council(fan_out, **options):
    proposer = ScriptedChatModel(reply="proposed", model_name="proposer", usage=USAGE)
    aggregator = ScriptedChatModel(reply="written", usage=USAGE)
    return ChatMoA(proposers=[proposer], aggregator=aggregator, fan_out=fan_out, **options), proposer


@pytest.mark.parametrize(
    "said",
    ["Hi", "hello there!", "Thanks a lot.", "Thank you so much, bye", "OK", "how are you?", "What\u2019s up"],
)
def test_small_talk_is_left_to_the_aggregator(said):
    assert unless_small_talk([HumanMessage(said)]) is False


@pytest.mark.parametrize(
    "said",
    [
        "",
        "👍",
        "Hi, what is a monad?",
        "Is it good?",
        "highway",
        "thanksgiving",
        "How are you able to fly?",
        "allow and",
    ],
)
def test_what_says_more_than_small_talk_is_worth_the_proposers(said):
    assert unless_small_talk([HumanMessage(said)]) is True


def test_small_talk_of_another_language_may_be_given():
    rule = partial(unless_small_talk, phrases=["hallo", "guten tag", "danke"])
    assert rule([HumanMessage("Guten Tag, danke!")]) is False
    assert rule([HumanMessage("Hi")]) is True


def test_a_short_follow_up_is_left_to_the_aggregator_and_a_short_first_question_is_not():
    first = [HumanMessage("Why?")]
    assert unless_short_follow_up(first) is True
    assert unless_short_follow_up([*first, AIMessage("Because."), HumanMessage("And why that?")]) is False
    assert unless_short_follow_up([*first, AIMessage("Because."), HumanMessage("x" * 40)]) is True
    assert unless_short_follow_up([*first, AIMessage("Because."), HumanMessage("x" * 9)], characters=9) is True


@pytest.mark.parametrize(("said", "times"), [("Hi!", 0), ("What is a monad?", 1)])
def test_a_rule_decides_for_a_whole_call(ask, said, times):
    model, proposer = council(unless_small_talk, rounds=2)
    answer = ask(model, said)
    assert answer.text == "written"
    assert len(proposer.seen) == 2 * times
    assert answer.response_metadata["moa"]["gate"] == {"asked": bool(times), "usage": {}}
    assert answer.response_metadata["moa"]["degraded"] == []


def test_a_rule_may_be_a_runnable_that_is_async(ask):
    async def rule(messages):
        return len(messages) > 1

    model, proposer = council(RunnableLambda(lambda messages: len(messages) > 1, afunc=rule))
    ask(model, "Q")
    assert len(proposer.seen) == 0
    ask(model, [HumanMessage("Q"), AIMessage("A"), HumanMessage("Q")])
    assert len(proposer.seen) == 1


def scout(reply="It is 42.", **options):
    return ScriptedChatModel(reply=reply, usage=USAGE, **{"model_name": "scout", **options})


def test_two_scouts_that_agree_spare_the_proposers(ask):
    first, second = scout("It is 42."), scout("The answer is $42.00")
    model, proposer = council(unless_scouts_agree(first, second))
    answer = ask(model, "6 x 7?")
    assert len(proposer.seen) == 0
    assert [len(first.seen), len(second.seen)] == [1, 1]
    gate = answer.response_metadata["moa"]["gate"]
    assert gate["asked"] is False
    assert gate["usage"]["scout"]["total_tokens"] == 30
    assert answer.usage_metadata["total_tokens"] == 3 * 15


@pytest.mark.parametrize(
    "second",
    [
        scout("It is 4."),
        scout("No idea."),
        scout("It is 42", finish_reason="length"),
        scout(error=ConnectionError("down")),
    ],
    ids=["another answer", "no answer", "cut off", "failed"],
)
def test_scouts_that_do_not_agree_leave_it_to_the_proposers(ask, second):
    model, proposer = council(unless_scouts_agree(scout(), second))
    answer = ask(model, "6 x 7?")
    assert len(proposer.seen) == 1
    assert answer.response_metadata["moa"]["gate"]["asked"] is True


def test_two_scouts_without_an_answer_do_not_agree(ask):
    model, proposer = council(unless_scouts_agree(scout("Hm."), scout("Hm.")))
    ask(model, "6 x 7?")
    assert len(proposer.seen) == 1


def test_scouts_may_be_model_strings_and_are_asked_over_http(together, ask):
    server = together({"lab/a": "It is 42.", "lab/b": "42", "lab/writer": "written"})
    rule = unless_scouts_agree("lab/a", "lab/b")
    answer = ask(ChatMoA(proposers=["lab/p"], aggregator="lab/writer", fan_out=rule), "6 x 7?")
    assert answer.text == "written"
    assert sorted(body["model"] for body in server.requests) == ["lab/a", "lab/b", "lab/writer"]
    assert not any(body.get("stream") for body in server.requests if body["model"] != "lab/writer")


def test_the_scouts_are_in_the_trace_below_the_rules_node():
    tracer = TreeTracer()
    model, _ = council(unless_scouts_agree(scout(), scout()))
    model.invoke("6 x 7?", {"callbacks": [tracer]})
    runs = {run.id: run for run in tracer.runs()}
    asked = [run for run in runs.values() if run.run_type == "llm" and "moa:gate" in run.tags]
    assert len(asked) == 2
    assert len(tracer.roots) == 1


def test_the_graph_with_a_rule_shows_both_ways():
    model, _ = council(unless_small_talk)
    edges = {(edge.source, edge.target) for edge in model.graph.get_graph().edges}
    assert {("gate", "layer_1_proposer_01"), ("gate", "aggregator")} <= edges


class WithoutChoices(ScriptedChatModel):
    """Its provider answers with no choice at all."""

    async def _agenerate(self, *args, **kwargs):
        return ChatResult(generations=[])

    def _generate(self, *args, **kwargs):
        return ChatResult(generations=[])


@pytest.mark.parametrize("failed", [WithoutChoices(), scout(error=ConnectionError("down"))], ids=["empty", "down"])
def test_a_scout_that_failed_is_named_once(ask, failed):
    model, proposer = council(unless_scouts_agree(failed, scout()))
    answer = ask(model, "6 x 7?")
    assert [entry["reason"] for entry in answer.response_metadata["moa"]["degraded"]] == ["gate_model_failed"]
    assert len(proposer.seen) == 1


# -- A gate that a model answers ---------------------------------------------------------------------------------------


def graded(arguments):
    """What the gate's model replies: a call of its schema's tool."""
    function = {"name": "Difficulty", "arguments": arguments}
    return Reply(tool_calls=({"id": "call_1", "type": "function", "function": function},))


def graded_council(together, reply):
    server = together({"lab/gate": reply, "lab/p": "proposed", "lab/writer": "written"})
    gate = unless_easy("lab/gate")
    return server, ChatMoA(proposers=["lab/p"], aggregator="lab/writer", fan_out=gate, max_retries=0)


def asked(server):
    return [body["model"].removeprefix("lab/") for body in server.requests]


@pytest.mark.parametrize(
    ("is_easy", "models"), [("true", ["gate", "writer"]), ("false", ["gate", "p", "writer"])], ids=["easy", "hard"]
)
def test_a_model_says_whether_the_proposers_are_asked(together, ask, is_easy, models):
    server, model = graded_council(together, graded(f'{{"is_easy": {is_easy}}}'))
    answer = ask(model, "6 x 7?")
    assert answer.text == "written"
    assert asked(server) == models
    assert answer.response_metadata["moa"]["degraded"] == []
    gate = answer.response_metadata["moa"]["gate"]
    assert gate["asked"] is ("p" in models)
    assert {name: usage["total_tokens"] for name, usage in gate["usage"].items()} == {"lab/gate": 18}
    assert answer.usage_metadata["total_tokens"] == 18 * len(models)


UNUSABLE = {
    "no call": Reply(text="It is easy."),
    "another schema": graded('{"easy": true}'),
    "broken JSON": graded('{"is_ea'),
    "nothing": Reply(text=None),
    "no choices": Reply(fault="empty_choices"),
    "an error": Reply(status=500),
    "a cut connection": Reply(fault="disconnect"),
}


@pytest.mark.parametrize("reply", UNUSABLE.values(), ids=UNUSABLE)
def test_when_its_reply_cannot_be_used_the_proposers_are_asked_and_it_is_named(together, ask, reply):
    server, model = graded_council(together, reply)
    answer = ask(model, "6 x 7?")
    assert answer.text == "written"
    assert [name for name in asked(server) if name != "gate"] == ["p", "writer"]
    (failed,) = answer.response_metadata["moa"]["degraded"]
    assert failed["reason"] == "gate_model_failed"
    assert failed["error"]


def test_the_gates_model_is_shown_the_conversation_and_told_not_to_answer(together, ask):
    server, model = graded_council(together, graded('{"is_easy": true}'))
    ask(model, [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("6 x 7?")])
    system, *conversation = server.requests[0]["messages"]
    assert system["content"].startswith("Be brief.\n\nDecide how hard it is")
    assert [message["content"] for message in conversation] == ["Hi", "Hello", "6 x 7?"]
    assert [tool["function"]["name"] for tool in server.requests[0]["tools"]] == ["Difficulty"]
    assert not server.requests[0].get("stream")


def test_its_call_is_in_the_trace_below_the_gates_node(together, ask):
    _, model = graded_council(together, graded('{"is_easy": true}'))
    tracer = TreeTracer()
    ask(model, "6 x 7?", {"callbacks": [tracer]})
    runs = {run.id: run for run in tracer.runs()}
    (call,) = [run for run in runs.values() if run.run_type == "llm" and "moa:gate" in run.tags]
    above = []
    while call.parent_run_id in runs:
        call = runs[call.parent_run_id]
        above.append(call.name)
    assert "gate" in above
    assert len(tracer.roots) == 1


def test_a_gates_model_that_takes_no_schema_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="'scripted' can't answer in a schema: give unless_easy a chat model"):
        unless_easy(ScriptedChatModel())
