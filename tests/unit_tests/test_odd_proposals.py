"""What one proposer does is data: an odd proposal never ends the call, and the others are used."""

import asyncio
from datetime import UTC, datetime

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA
from tests.fakes import CallingChatModel, ScriptedChatModel

ARGUMENTS = {
    "a lone surrogate": {"x": "half \ud83d"},
    "a lone surrogate as a key": {"\ud83d": 1},
    "a datetime": {"when": datetime(2026, 1, 1, tzinfo=UTC)},
    "a set": {"some": {1}},
    "not a number": {"x": float("nan")},
}


def calling(arguments):
    """Return a message that calls a tool with arguments as no provider sends them; pydantic does not look inside."""
    return AIMessage("", tool_calls=[{"id": "1", "name": "f", "args": arguments}])


def mixture(odd, **options):
    aggregator = ScriptedChatModel(reply="done")
    good = ScriptedChatModel(reply="good", model_name="good")
    return ChatMoA(proposers=[RunnableLambda(odd, name="odd"), good], aggregator=aggregator, **options), aggregator


def statuses(answer):
    return [call["status"] for call in answer.response_metadata["moa"]["layers"][0]]


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_tool_call_with_odd_arguments_is_shown_or_left_out_and_the_others_are_used(ask, arguments, rounds):
    model, aggregator = mixture(lambda _: calling(arguments), rounds=rounds)
    answer = ask(model, "Q")
    assert answer.text == "done"
    assert statuses(answer)[0] in ("ok", "failed")
    assert statuses(answer)[1] == "ok"
    references = aggregator.seen[0][0].text
    references.encode()  # can be sent
    assert references.endswith("2. good" if statuses(answer)[0] == "ok" else "1. good")


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_history_with_odd_arguments_is_answered(ask, arguments):
    proposer, aggregator = ScriptedChatModel(), ScriptedChatModel(reply="done")
    conversation = [HumanMessage("Q"), calling(arguments), ToolMessage("r", tool_call_id="1"), HumanMessage("And?")]
    answer = ask(ChatMoA(proposers=[proposer], aggregator=aggregator), conversation)
    assert answer.text == "done"
    assert statuses(answer) == ["ok"]
    assert any("[called tool: f(" in message.text for message in proposer.seen[0])


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_odd_arguments_in_the_steps_of_a_turn_are_answered(ask, arguments):
    aggregator = CallingChatModel(reply="done")
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=aggregator, fan_out="user_turn")
    conversation = [HumanMessage("Q"), calling(arguments), ToolMessage("r", tool_call_id="1")]
    assert ask(model, conversation).text == "done"


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_proposer_that_cancels_itself_has_failed(ask, way):
    def cancel(_):
        raise asyncio.CancelledError("of its own")

    async def acancel(_):
        raise asyncio.CancelledError("of its own")

    odd = RunnableLambda(cancel, afunc=acancel if way == "async" else None, name="odd")
    aggregator, good = ScriptedChatModel(reply="done"), ScriptedChatModel(reply="good")
    answer = ask(ChatMoA(proposers=[odd, good], aggregator=aggregator), "Q")
    assert answer.text == "done"
    assert statuses(answer) == ["failed", "ok"]
    assert aggregator.seen[0][0].text.endswith("models:\n1. good")
    (degraded,) = answer.response_metadata["moa"]["degraded"]
    assert degraded == {"reason": "proposer_failed", "layer": 1, "proposer": "odd"}


@pytest.mark.parametrize("reply", [None, 42, ["a"], {"content": "x"}], ids=repr)
def test_a_proposer_that_returns_no_message_has_failed(ask, reply):
    model, aggregator = mixture(lambda _: reply)
    answer = ask(model, "Q")
    assert statuses(answer) == ["failed", "ok"]
    assert aggregator.seen[0][0].text.endswith("models:\n1. good")


@pytest.mark.parametrize("key", [lambda text: [text], lambda text: {text: 1}, lambda text: bytearray(b"x")], ids="lds")
def test_an_answer_that_cannot_be_hashed_has_no_vote(ask, key):
    def read(text):
        return key(text) if text == "odd" else text

    replies = ["odd", "42", "odd", "42", "7"]
    proposers = [ScriptedChatModel(reply=reply) for reply in replies]
    model = ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(), aggregation="vote", answer_key=read)
    answer = ask(model, "Q")
    assert answer.text == "42"
    assert answer.response_metadata["moa"]["vote"]["votes"]["42"] == 2


@pytest.mark.parametrize("text", ["half \ud83d", "a\x00b", "\ud83d"])
def test_shuffled_references_of_a_question_with_a_lone_surrogate_are_ordered(ask, text):
    proposers = [ScriptedChatModel(reply=f"reply {number}") for number in range(4)]
    model = ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(reply="done"), shuffle=True, rounds=2)
    first, second = ask(model, text), ask(model, text)
    order = first.response_metadata["moa"]["order"]
    assert order == second.response_metadata["moa"]["order"]
    assert first.text == "done"
