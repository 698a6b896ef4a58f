"""When the proposers are asked, and the references that the later steps of a user's turn use again."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa import ChatMoA
from langchain_moa._runtime import turn_references as turns
from tests.fakes import ScriptedChatModel

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look it up."}}]


def council(*, fan_out="auto", **options):
    """Two proposers that name the question they heard and an aggregator, and their mixture."""
    members = [
        ScriptedChatModel(reply=lambda messages, n=name: f"{n} on {question(messages)}", model_name=name, usage=USAGE)
        for name in ("one", "two")
    ]
    aggregator = ScriptedChatModel(reply="done", usage=USAGE)
    return ChatMoA(proposers=members, aggregator=aggregator, fan_out=fan_out, **options), members, aggregator


def question(messages):
    """Return the first line of the latest user's turn that is no tool result."""
    said = [message.text for message in messages if message.type == "human" and not message.text.startswith("[tool")]
    return said[-1].partition("\n")[0]


def step(number=0):
    """Return what one step of an agent adds to the conversation."""
    call = {"id": f"call_{number}", "name": "look_up", "args": {"n": number}}
    return [AIMessage("", tool_calls=[call]), ToolMessage(f"result {number}", tool_call_id=call["id"])]


def asked(members):
    return [len(member.seen) for member in members]


def calls_of(answer):
    return answer.response_metadata["moa"]["layers"][0]


# -- When they are asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fan_out", "tools", "times"),
    [
        ("always", [], 3),
        ("always", TOOLS, 3),
        ("user_turn", [], 1),
        ("user_turn", TOOLS, 1),
        ("auto", [], 3),
        ("auto", TOOLS, 1),
        (lambda messages: True, TOOLS, 3),
        (lambda messages: messages[-1].type == "human", TOOLS, 1),
        (lambda messages: False, TOOLS, 0),
    ],
    ids=[
        "always",
        "always, with tools",
        "user_turn",
        "user_turn, with tools",
        "auto",
        "auto, with tools",
        "a rule that says yes",
        "a rule that looks at the messages",
        "a rule that says no",
    ],
)
def test_over_the_three_steps_of_a_turn_proposers_are_asked_as_fan_out_says(ask, fan_out, tools, times):
    model, members, aggregator = council(fan_out=fan_out)
    conversation = [HumanMessage("Q")]
    for number in range(3):
        ask(model, conversation, tools=tools)
        conversation += step(number)
    assert asked(members) == [times, times]
    assert len(aggregator.seen) == 3


def test_left_out_by_a_rule_the_aggregator_answers_alone_and_nothing_is_degraded(ask):
    model, members, aggregator = council(fan_out=lambda messages: len(messages) > 1, rounds=2)
    answer = ask(model, "Q")
    assert asked(members) == [0, 0]
    assert [message.text for message in aggregator.seen[0]] == ["Q"]
    moa = answer.response_metadata["moa"]
    assert [[call["status"] for call in layer] for layer in moa["layers"]] == [["skipped"] * 2] * 2
    assert moa["degraded"] == []
    assert answer.usage_metadata == USAGE


def test_a_rule_is_asked_once_per_call_with_the_callers_messages(ask):
    """Asked by each proposer, a rule such as one call in five at random would leave out some and not others."""
    heard = []
    model, *_ = council(fan_out=lambda messages: heard.append(messages) or True, rounds=2)
    ask(model, [SystemMessage("Be brief."), HumanMessage("Q")])
    assert [[message.text for message in messages] for messages in heard] == [["Be brief.", "Q"]]


def test_an_error_of_a_rule_is_the_callers(ask):
    def rule(messages):
        raise LookupError("no rule")

    with pytest.raises(LookupError, match="no rule"):
        ask(council(fan_out=rule)[0], "Q")


# -- What is used again ----------------------------------------------------------------------------------------------


def test_later_steps_see_the_turns_references_again(ask):
    model, _, aggregator = council(rounds=2)
    conversation = [HumanMessage("Q")]
    for number in range(3):
        ask(model, conversation, tools=TOOLS)
        conversation += step(number)
    assert [seen[-1].text.splitlines()[-2:] for seen in aggregator.seen] == [["1. one on Q", "2. two on Q"]] * 3


def test_what_is_used_again_is_named_and_its_usage_is_not_counted_twice(ask):
    model, *_ = council()
    first = ask(model, [HumanMessage("Q")], tools=TOOLS)
    again = ask(model, [HumanMessage("Q"), *step()], tools=TOOLS)
    assert first.usage_metadata["total_tokens"] == 3 * 15
    assert again.usage_metadata == USAGE
    assert not any("reused" in call for call in calls_of(first))
    assert [(call["proposer"], call["status"], call["usage"], call["reused"]) for call in calls_of(again)] == [
        ("one", "ok", None, True),
        ("two", "ok", None, True),
    ]
    assert again.response_metadata["moa"]["degraded"] == []


def test_texts_are_in_the_metadata_of_later_steps_too(ask):
    model, *_ = council(include_references=True)
    ask(model, [HumanMessage("Q")], tools=TOOLS)
    again = ask(model, [HumanMessage("Q"), *step()], tools=TOOLS)
    assert [call["text"] for call in calls_of(again)] == ["one on Q", "two on Q"]


def test_a_failed_proposer_is_still_named_in_later_steps(ask):
    bad = ScriptedChatModel(error=ValueError("no"), model_name="bad")
    model = ChatMoA(proposers=[ScriptedChatModel(), bad], aggregator=ScriptedChatModel())
    ask(model, [HumanMessage("Q")], tools=TOOLS)
    again = ask(model, [HumanMessage("Q"), *step()], tools=TOOLS)
    assert [call["status"] for call in calls_of(again)] == ["ok", "failed"]
    assert again.response_metadata["moa"]["degraded"] == [
        {"reason": "proposer_failed", "layer": 1, "proposer": "bad"},
    ]


@pytest.mark.parametrize("fan_out", ["user_turn", "auto"])
def test_a_new_message_of_the_user_asks_again(ask, fan_out):
    model, members, aggregator = council(fan_out=fan_out)
    conversation = [HumanMessage("Q1")]
    ask(model, conversation, tools=TOOLS)
    conversation += [*step(), AIMessage("A1"), HumanMessage("Q2")]
    ask(model, conversation, tools=TOOLS)
    ask(model, [*conversation, *step(1)], tools=TOOLS)
    assert asked(members) == [2, 2]
    assert "1. one on Q2" in aggregator.seen[2][-1].text
    assert "on Q1" not in aggregator.seen[2][-1].text


def test_the_same_question_asked_anew_is_asked_anew_of_every_proposer(ask):
    """Often, because a race between the proposers of a layer decides."""
    model, members, _ = council()
    for _ in range(10):
        ask(model, [HumanMessage("Q")], tools=TOOLS)
    assert asked(members) == [10, 10]


def test_a_question_whose_answer_failed_is_tried_again_with_the_references_that_are_there(ask):
    model, members, aggregator = council()
    aggregator.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        ask(model, [HumanMessage("Q")], tools=TOOLS)
    aggregator.error = None
    answer = ask(model, [HumanMessage("Q")], tools=TOOLS)
    assert asked(members) == [1, 1]
    assert aggregator.seen[1][-1].text.endswith("1. one on Q\n2. two on Q")
    assert all(call["reused"] for call in calls_of(answer))


def test_a_step_whose_turn_is_not_known_asks(ask):
    """As after a restart: the cache is of this process."""
    model, members, aggregator = council()
    ask(model, [HumanMessage("Q"), *step()], tools=TOOLS)
    ask(model, [HumanMessage("Q"), *step(), *step(1)], tools=TOOLS)
    assert asked(members) == [1, 1]
    assert aggregator.seen[1][-1].text.endswith("1. one on Q\n2. two on Q")


@pytest.mark.parametrize(
    "other",
    [
        [HumanMessage("Q2")],
        [SystemMessage("Be brief."), HumanMessage("Q")],
        [HumanMessage("Q"), AIMessage("A"), HumanMessage("Q")],
        [HumanMessage("Q"), *step(7), HumanMessage("Q")],
        [HumanMessage([{"type": "text", "text": "Q"}, {"type": "image", "url": "http://127.0.0.1/cat.png"}])],
    ],
    ids=["another question", "a system message", "a longer history", "other tool calls", "an image"],
)
def test_two_conversations_do_not_mix(ask, other):
    model, members, _ = council()
    ask(model, [HumanMessage("Q")], tools=TOOLS)
    ask(model, [*other, *step()], tools=TOOLS)
    assert asked(members) == [2, 2]


def test_ids_and_metadata_of_messages_make_no_other_turn(ask):
    """An agent's checkpointer gives messages ids, and a middleware may leave its marks."""
    model, members, _ = council()
    ask(model, [HumanMessage("Q")], tools=TOOLS)
    ask(model, [HumanMessage("Q", id="1", additional_kwargs={"seen": True}), *step()], tools=TOOLS)
    assert asked(members) == [1, 1]


def test_ids_of_blocks_make_no_other_turn(ask):
    """Core translates some blocks of OpenAI's at every call, and gives each a new id."""
    model, members, _ = council()
    hear = [{"type": "text", "text": "Q"}, {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]
    ask(model, [HumanMessage(hear)], tools=TOOLS)
    ask(model, [HumanMessage(hear), *step()], tools=TOOLS)
    assert asked(members) == [1, 1]


def test_two_models_share_no_turns(ask):
    (first, *_), (second, members, _) = council(), council()
    ask(first, [HumanMessage("Q")], tools=TOOLS)
    ask(second, [HumanMessage("Q"), *step()], tools=TOOLS)
    assert asked(members) == [1, 1]


def test_the_oldest_turns_are_forgotten_and_asked_again(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_TURNS", 2)
    model, members, _ = council()
    for name in ("Q1", "Q2", "Q3"):
        model.invoke([HumanMessage(name)], tools=TOOLS)
    model.invoke([HumanMessage("Q3"), *step()], tools=TOOLS)
    model.invoke([HumanMessage("Q2"), *step()], tools=TOOLS)
    assert asked(members) == [3, 3]
    model.invoke([HumanMessage("Q1"), *step()], tools=TOOLS)
    assert asked(members) == [4, 4]


def test_a_turn_in_use_is_not_forgotten_for_newer_ones(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_TURNS", 2)
    model, members, _ = council()
    model.invoke([HumanMessage("long")], tools=TOOLS)
    for number in range(3):
        model.invoke([HumanMessage(f"short {number}")], tools=TOOLS)
        model.invoke([HumanMessage("long"), *step(number)], tools=TOOLS)
    assert asked(members) == [4, 4]


# -- Cancelled, and many at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("conversation", [[HumanMessage("Q")], [HumanMessage("Q"), *step()]], ids=["first", "later"])
async def test_a_cancelled_fan_out_is_never_kept(conversation):
    """Peer bug 16 (Hermes): the partial result of a cancelled fan-out was cached and replayed."""
    released, waiting = threading.Event(), asyncio.Event()
    fast = ScriptedChatModel(reply="fast")
    slow = ScriptedChatModel(reply=lambda _: waiting.set() or "slow", waits_for=released)
    aggregator = ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[fast, slow], aggregator=aggregator)
    call = asyncio.create_task(model.ainvoke(conversation, tools=TOOLS))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert aggregator.seen == []
    released.set()
    answer = await model.ainvoke([HumanMessage("Q"), *step(), *step(1)], tools=TOOLS)
    assert aggregator.seen[0][-1].text.endswith("models:\n1. fast\n2. slow")
    assert len(slow.seen) == 2
    assert [call["status"] for call in calls_of(answer)] == ["ok", "ok"]


def run_turn(model, name):
    """Ask a question, and go on for two steps."""
    conversation = [HumanMessage(name)]
    for number in range(3):
        model.invoke(conversation, tools=TOOLS)
        conversation += step(number)


async def arun_turn(model, name):
    conversation = [HumanMessage(name)]
    for number in range(3):
        await model.ainvoke(conversation, tools=TOOLS)
        conversation += step(number)


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_conversations_at_once_keep_their_own_references(way):
    model, members, aggregator = council()
    names = [f"Q{number}" for number in range(8)]

    async def at_once():
        await asyncio.gather(*(arun_turn(model, name) for name in names))

    if way == "threads":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: run_turn(model, name), names))
    else:
        asyncio.run(at_once())
    assert asked(members) == [8, 8]
    assert len(aggregator.seen) == 24
    for seen in aggregator.seen:
        name = seen[0].text.partition("\n")[0]
        assert seen[-1].text.endswith(f"\n1. one on {name}\n2. two on {name}")
