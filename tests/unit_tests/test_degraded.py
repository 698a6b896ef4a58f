"""What was worked around is named: passes, judges and gates that failed; quorums and members of unusual kinds."""

import threading

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA
from langchain_moa._runtime.layer_clock import needed_references
from langchain_moa.gates import unless_scouts_agree
from tests.fakes import CallingChatModel, ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.test_aggregation import ANALYSIS, choosing, tool_call

TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look it up."}}]


def moa(answer):
    return answer.response_metadata["moa"]


def reasons(answer):
    return [each["reason"] for each in moa(answer)["degraded"]]


def windowed(together, replies, proposals=5, **options):
    """Start a server whose writer gives these replies in turn, and return it with a mixture that reads in windows."""
    names = [f"lab/p{number}" for number in range(1, proposals + 1)]
    in_turn = iter(replies)

    def reply(body):
        if body["model"] in names:
            return f"reply {body['model'][-1]}"
        said = next(in_turn)
        return said(body) if callable(said) else said

    return together(reply), ChatMoA(proposers=names, aggregator="lab/writer", window=3, reserve=1, **options)


def shown(body):
    """Return the references that a request shows."""
    return [line for line in body["messages"][0]["content"].splitlines() if line[:1].isdigit()]


UNUSABLE = {
    "empty": Reply(text=None),
    "cut off": Reply(text="half a synth", finish_reason="length"),
    "filtered": Reply(text="no", finish_reason="content_filter"),
}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE)
def test_a_pass_that_cannot_be_used_keeps_its_windows_references(ask, together, unusable):
    server, model = windowed(together, [unusable, "done"])
    answer = ask(model, "Q")
    assert answer.text == "done"
    written = [body for body in server.requests if body["model"] == "lab/writer"]
    assert shown(written[-1]) == [f"{number}. reply {number}" for number in range(1, 6)]
    (degraded,) = moa(answer)["degraded"]
    assert (degraded["reason"], degraded["step"]) == ("pass_unusable", "pass_1")
    assert server.errors == []


def test_the_passes_after_one_that_cannot_be_used_go_on(ask, together):
    server, model = windowed(together, [UNUSABLE["empty"], "so far", "done"], proposals=8)
    answer = ask(model, "Q")
    written = [body for body in server.requests if body["model"] == "lab/writer"]
    assert shown(written[1]) == ["1. reply 4", "2. reply 5", "3. reply 6"]
    assert shown(written[2]) == ["1. reply 1", "2. reply 2", "3. reply 3", "4. so far", "5. reply 7", "6. reply 8"]
    assert reasons(answer) == ["pass_unusable"]


def test_select_judges_window_by_window(ask, together):
    server, model = windowed(together, [choosing("reply 2"), choosing("reply 5")], aggregation="select")
    answer = ask(model, "Q")
    judged = [body for body in server.requests if body["model"] == "lab/writer"]
    # The best of the first window, reply 2, stands against those of the next.
    assert [sum(f"reply {n}" in str(body["messages"]) for n in range(1, 6)) for body in judged] == [3, 3]
    assert "reply 2" in str(judged[1]["messages"])
    assert answer.text == "reply 5"
    assert [step["step"] for step in moa(answer)["steps"]] == ["select", "select"]


def test_analyze_reads_window_by_window(ask, together):
    server, model = windowed(together, ["so far", tool_call(ANALYSIS), "done"], aggregation="analyze")
    answer = ask(model, "Q")
    assert answer.text == "done"
    assert [step["step"] for step in moa(answer)["steps"]] == ["pass_1", "analyze"]
    first, second, _ = [body for body in server.requests if body["model"] == "lab/writer"]
    assert shown(first) == ["1. reply 1", "2. reply 2", "3. reply 3"]
    assert all(text in str(second["messages"]) for text in ("so far", "reply 4", "reply 5"))
    assert "reply 1" not in str(second["messages"])


@pytest.mark.parametrize("way", ["select", "analyze"])
def test_a_judge_that_was_replaced_is_named(ask, together, way):
    def reply(body):
        if body["model"] == "lab/spare" and body.get("tools"):
            return choosing("two")(body) if way == "select" else tool_call(ANALYSIS)
        replies = {"lab/a": "one", "lab/b": "two", "lab/spare": "done"}
        return replies.get(body["model"], Reply(status=400, error="no judging today"))

    together(reply)
    model = ChatMoA(
        proposers=["lab/a", "lab/b"], aggregator="lab/c", fallback_aggregators=["lab/spare"], aggregation=way
    )
    answer = ask(model, "Q")
    named = [each for each in moa(answer)["degraded"] if each["reason"] == "judge_failed"]
    assert [(each["model"], each["step"]) for each in named] == [("lab/c", way)]
    assert "no judging today" in named[0]["error"]
    assert answer.text == ("two" if way == "select" else "done")


def test_a_scout_that_fails_is_named_at_every_call(ask):
    bad = ScriptedChatModel(error=PermissionError("a wrong key"))
    model = ChatMoA(
        proposers=[ScriptedChatModel()],
        aggregator=ScriptedChatModel(reply="done"),
        fan_out=unless_scouts_agree(bad, ScriptedChatModel(reply="42")),
    )
    for _ in range(2):
        answer = ask(model, "Q")
        assert answer.text == "done"
        assert moa(answer)["degraded"] == [
            {"reason": "gate_model_failed", "error": "PermissionError: a wrong key"},
        ]


def test_a_quorum_counts_references_that_are_used_again(ask):
    """The first step gave two of three; at the second the third is late, and nobody waits for it."""
    never = threading.Event()
    good = [ScriptedChatModel(reply=name, model_name=name) for name in ("one", "two")]
    late = ScriptedChatModel(model_name="late", waits_for=never)
    aggregator = CallingChatModel(reply="done")
    model = ChatMoA(proposers=[*good, late], aggregator=aggregator, quorum=2, timeout=30)
    try:
        conversation = ["Q"]
        for _ in range(3):
            answer = ask(model, conversation, tools=TOOLS)
            result = ToolMessage("found", tool_call_id=answer.tool_calls[0]["id"])
            conversation += [answer, result]
    finally:
        never.set()
    assert [call["status"] for call in moa(answer)["layers"][0]] == ["ok", "ok", "cancelled"]
    assert [len(proposer.seen) for proposer in good] == [1, 1]


@pytest.mark.parametrize(
    ("quorum", "size", "needed"),
    [(0.07, 100, 7), (0.28, 25, 7), (0.5, 3, 2), (0.01, 3, 1), (1.0, 6, 6), (1 / 3, 3, 1), (2, 6, 2), (None, 6, 6)],
)
def test_a_fraction_of_a_layer_is_the_number_that_one_would_say(quorum, size, needed):
    assert needed_references(quorum, size) == needed


@pytest.mark.parametrize("count", [7, 29, 57, 58])
def test_every_percentage_of_a_hundred_is_itself(count):
    assert needed_references(count / 100, 100) == count


# -- Members of unusual kinds ------------------------------------------------------------------------------------------


def test_an_aggregator_may_return_a_text(ask):
    writer = RunnableLambda(lambda messages: "a plain text", name="writer")
    answer = ask(ChatMoA(proposers=[ScriptedChatModel()], aggregator=writer), "Q")
    assert isinstance(answer, AIMessage)
    assert answer.text == "a plain text"
    assert moa(answer)["aggregator"]["model"] == "writer"


def test_an_aggregator_that_returns_something_else_is_an_error_that_says_so(ask):
    writer = RunnableLambda(lambda messages: 42, name="writer")
    with pytest.raises(TypeError, match="an aggregator returns a message of the assistant, not int"):
        ask(ChatMoA(proposers=[ScriptedChatModel()], aggregator=writer), "Q")


def test_a_proposer_may_be_async_alone(ask):
    async def advise(messages):
        return AIMessage("async advice")

    aggregator = ScriptedChatModel(reply="done")
    ask(ChatMoA(proposers=[RunnableLambda(advise, name="advise")], aggregator=aggregator), "Q")
    assert aggregator.seen[0][0].text.endswith("models:\n1. async advice")


def test_an_aggregator_made_by_with_fallbacks_takes_tools(ask):
    bad = CallingChatModel(error=ConnectionError("down"), model_name="bad")
    good = CallingChatModel(model_name="good")
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=bad.with_fallbacks([good]))
    answer = ask(model.bind_tools(TOOLS), "Q")
    assert answer.tool_calls[0]["name"] == "look_up"
    assert good.kwargs[0]["tools"] == TOOLS
    assert moa(answer)["degraded"] == [
        {"reason": "aggregator_failed", "model": "bad", "error": "ConnectionError: down"},
    ]
