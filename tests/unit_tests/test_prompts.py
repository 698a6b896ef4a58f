"""The paper's prompt, byte for byte."""

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE, with_references, with_system
from tests.upstream import SYNTHESIZE


def test_the_prompt_is_upstreams():
    assert AGGREGATE_AND_SYNTHESIZE == SYNTHESIZE


def test_references_are_numbered_lines_in_front_of_the_conversation():
    question = HumanMessage("What is 6 x 7?")
    seen = with_references([question], ["42", "It is\nforty-two."])
    assert seen == [SystemMessage(SYNTHESIZE + "\n1. 42\n2. It is\nforty-two."), question]


def test_the_callers_system_message_stays_first_and_is_continued_after_a_blank_line():
    seen = with_references([SystemMessage("Be brief."), HumanMessage("Hi")], ["Hello."])
    assert seen == [SystemMessage("Be brief.\n\n" + SYNTHESIZE + "\n1. Hello."), HumanMessage("Hi")]


def test_a_system_message_of_content_blocks_is_continued_by_a_block():
    blocks = [{"type": "text", "text": "Be brief."}]
    seen = with_system([SystemMessage(content=blocks), HumanMessage("Hi")], "And kind.")
    assert seen[0].text == "Be brief.\n\nAnd kind."


def test_without_references_the_conversation_is_as_it_was():
    conversation = [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Bye")]
    assert with_references(conversation, []) == conversation


def test_the_given_messages_are_not_changed():
    conversation = [SystemMessage("Be brief."), HumanMessage("Hi")]
    before = [message.model_dump() for message in conversation]
    with_references(conversation, ["Hello."])
    assert [message.model_dump() for message in conversation] == before
