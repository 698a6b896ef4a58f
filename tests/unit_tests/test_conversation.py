"""The models see exactly the conversation that was given: the same messages, in the same order, with the same ids."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from langchain_moa import ChatMoA
from tests.fakes import ScriptedChatModel


def mixture(**options):
    """A mixture whose aggregator sees the references at the end, so that nothing before is changed by them."""
    proposer, aggregator = ScriptedChatModel(reply="reference"), ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[proposer], aggregator=aggregator, reference_placement="system", **options)
    return model, proposer, aggregator


def as_told(messages):
    return [(message.type, message.content, message.id) for message in messages]


SAME_ID = [HumanMessage("one", id="1"), AIMessage("two", id="2"), HumanMessage("three", id="1")]
SAME_ANSWER = [
    HumanMessage("q1"),
    AIMessage("a1", id="run-of-the-cache"),
    HumanMessage("q2"),
    AIMessage("a2", id="run-of-the-cache"),
    HumanMessage("q3"),
]


@pytest.mark.parametrize("conversation", [SAME_ID, SAME_ANSWER], ids=["a question's id", "an id of the cache"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_messages_with_the_same_id_reach_every_model(ask, conversation, rounds):
    model, proposer, aggregator = mixture(rounds=rounds)
    ask(model, conversation)
    for seen in [*proposer.seen, *aggregator.seen]:
        own = [message for message in seen if message.type != "system"]
        assert as_told(own) == as_told(conversation)


def test_answers_from_a_cache_share_an_id_and_lose_no_message(ask):
    model, _, aggregator = mixture(cache=InMemoryCache())
    answer = ask(model, "q1")
    conversation = [HumanMessage("q1"), answer, HumanMessage("q2"), answer, HumanMessage("q3")]
    ask(model, conversation)
    assert as_told(aggregator.seen[-1][1:]) == as_told(conversation)


@pytest.mark.parametrize("id_", ["1", REMOVE_ALL_MESSAGES])
def test_a_remove_message_is_never_executed(ask, id_):
    model, proposer, aggregator = mixture()
    conversation = [HumanMessage("one", id="1"), AIMessage("two"), RemoveMessage(id=id_), HumanMessage("three", id="2")]
    ask(model, conversation)
    for seen in (proposer.seen[0], aggregator.seen[0]):
        assert [message.text for message in seen if message.type != "system"] == ["one", "two", "three"]


def test_the_callers_messages_are_not_changed(ask):
    model, *_ = mixture(rounds=2)
    conversation = [SystemMessage("Be brief."), *SAME_ID]
    before = [message.model_copy(deep=True) for message in conversation]
    ask(model, conversation)
    assert conversation == before


IDS = st.none() | st.sampled_from(["1", "2", "3", "run-1", ""])
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(str.strip)  # no empty question
MESSAGES = st.one_of(
    st.builds(HumanMessage, WORDS, id=IDS),
    st.builds(AIMessage, WORDS, id=IDS),
    st.builds(SystemMessage, WORDS, id=IDS),
    st.builds(ToolMessage, WORDS, tool_call_id=st.sampled_from(["a", "b"]), id=IDS),
)
MODEL, _, AGGREGATOR = mixture()
ALONE = ChatMoA(
    proposers=[ScriptedChatModel()], aggregator=(SOLO := ScriptedChatModel()), fan_out=lambda messages: False
)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
@given(conversation=st.lists(MESSAGES, min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_whatever_the_conversation_an_aggregator_alone_sees_it_as_it_was_given(asynchronous, conversation):
    SOLO.seen.clear()
    if asynchronous:
        asyncio.run(ALONE.ainvoke(conversation))
    else:
        ALONE.invoke(conversation)
    (seen,) = SOLO.seen
    assert as_told(seen) == as_told(conversation)


@given(
    conversation=st.lists(
        st.one_of(st.builds(HumanMessage, WORDS, id=IDS), st.builds(AIMessage, WORDS, id=IDS)), min_size=1, max_size=6
    )
)
@settings(deadline=None, max_examples=60)
def test_whatever_the_conversation_references_stand_before_it(conversation):
    AGGREGATOR.seen.clear()
    MODEL.invoke(conversation)
    (seen,) = AGGREGATOR.seen
    assert seen[0].text.endswith("\n1. reference")
    assert as_told(seen[1:]) == as_told(conversation)
