"""Marks for prompt caches reach only providers that take them."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from langchain_moa import ChatMoA
from langchain_moa._messages.cache_control import arguments_for_provider, for_provider
from langchain_moa._models.provider import provider_of
from tests.fakes import ScriptedChatModel

MARK = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "Be brief."}
MARKED = [
    SystemMessage([{**TEXT, **MARK}]),
    HumanMessage([{**TEXT, "extras": MARK}, {**TEXT, "extras": {**MARK, "more": 1}}]),
    AIMessage("Hello"),
    ToolMessage([{"type": "tool_result", "content": [{**TEXT, **MARK}], **MARK}], tool_call_id="1"),
    HumanMessage([TEXT, {"cachePoint": {"type": "default"}}]),
]
CLEARED = [
    [TEXT],
    [TEXT, {**TEXT, "extras": {"more": 1}}],
    "Hello",
    [{"type": "tool_result", "content": [TEXT]}],
    [TEXT],
]


def contents(messages):
    return [message.content for message in messages]


@pytest.mark.parametrize("provider", ["openai-chat", "together-chat", "chat-ollama", "chat-google-generative-ai", "my"])
def test_marks_are_taken_out_for_providers_that_refuse_them(provider):
    before = [message.model_dump() for message in MARKED]
    assert contents(for_provider(MARKED, provider)) == CLEARED
    assert [message.model_dump() for message in MARKED] == before
    assert for_provider(MARKED, provider)[2] is MARKED[2]


@pytest.mark.parametrize("provider", ["amazon_bedrock_chat", "amazon_bedrock_converse_chat", "moa", None])
def test_everything_is_kept_where_marks_of_all_kinds_are_taken(provider):
    assert contents(for_provider(MARKED, provider)) == contents(MARKED)


@pytest.mark.parametrize("provider", ["anthropic-chat", "anthropic-chat-vertexai", "openrouter-chat"])
def test_anthropics_models_get_their_own_marks_and_none_of_bedrocks(provider):
    assert contents(for_provider(MARKED, provider)) == [*contents(MARKED[:-1]), [TEXT]]


@tool(extras={**MARK, "more": 1})
def search(query: str) -> str:
    """Search."""
    return query


def test_marks_in_arguments_are_taken_out_as_well():
    function = {"name": "f", "parameters": {"properties": {"cache_control": {"type": "string"}}}}
    tools = [{"type": "function", "function": {**function, **MARK}, **MARK}, {"name": "g", **MARK}, search, len]
    given = {**MARK, "tools": tools, "temperature": 0}
    cleared = arguments_for_provider(given, "openai-chat")
    first, second, third, fourth = cleared.pop("tools")
    assert cleared == {"temperature": 0}
    assert [first, second] == [{"type": "function", "function": function}, {"name": "g"}]
    assert third.extras == {"more": 1}
    assert search.extras == {**MARK, "more": 1}
    assert fourth is len
    assert arguments_for_provider(given, "anthropic-chat") == given
    assert arguments_for_provider({}, "openai-chat") == {}


def test_the_provider_of_a_model_is_known_however_it_is_wrapped():
    model = ScriptedChatModel()
    assert provider_of(model.bind(stop=["x"]).with_config(tags=["a"])) == "scripted"
    assert provider_of(ChatMoA(proposers=[model], aggregator=model)) == "moa"
    assert provider_of(model | str) is None
