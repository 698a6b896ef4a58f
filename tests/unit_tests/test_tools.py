"""Tools and schemas are the aggregator's; proposers advise, in words."""

import json
from itertools import pairwise
from typing import Annotated

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_together import ChatTogether
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_moa import ChatMoA, Proposer
from langchain_moa._messages.prompts import ACT_ON_ADVICE, ADVISER, AGGREGATE_AND_SYNTHESIZE, CONTINUE
from langchain_moa._models.transport import http_clients
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
AS_DICT = {
    "type": "function",
    "function": {"name": "weather", "description": "Tell the weather.", "parameters": SCHEMA},
}
CATALOG = ADVISER + "- weather: Tell the weather."
CALL = {"id": "call_1", "name": "weather", "args": {"city": "Köln"}}
WIRE_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
CALLING = AIMessage("", tool_calls=[CALL])
RESULT = ToolMessage("rain", tool_call_id="call_1", name="weather")


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    raise NotImplementedError


def weather_function(city: str) -> str:
    """Tell the weather."""
    raise NotImplementedError


weather_function.__name__ = "weather"


class Weather(BaseModel):
    """Tell the weather."""

    city: str


Weather.__name__ = "weather"

TOOLS = {"tool": weather, "pydantic class": Weather, "function": weather_function, "dict": AS_DICT}


def over_http(together, **replies):
    """Two proposers and a writer on a server, and what the server is asked: `asked("writer")`."""
    server = together({"lab/a": "It rains.", "lab/b": "Look it up.", "lab/writer": "done"} | replies)

    def asked(name):
        return [body for body in server.requests if body["model"] == f"lab/{name}"]

    return ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/writer"), asked


def with_tools(*, reply="advice", **options):
    """A proposer and an aggregator, and their mixture with a tool bound."""
    proposer, aggregator = ScriptedChatModel(reply=reply), ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[proposer], aggregator=aggregator, **options)
    return model.bind(tools=[AS_DICT]), proposer, aggregator


def said(messages):
    return [(message.type, message.text) for message in messages]


# -- Who gets what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", TOOLS.values(), ids=TOOLS)
def test_tools_of_every_kind_reach_the_aggregator_only(ask, together, bound):
    model, asked = over_http(together)
    ask(model.bind_tools([bound]), "Is it raining?")
    (request,) = asked("writer")
    (function,) = [entry["function"] for entry in request["tools"]]
    assert (function["name"], function["description"]) == ("weather", "Tell the weather.")
    assert function["parameters"]["properties"]["city"]["type"] == "string"
    for proposer in "ab":
        assert "tools" not in asked(proposer)[0]
        assert asked(proposer)[0]["messages"][0] == {"role": "system", "content": CATALOG}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_a_tool_choice_forces_no_proposer_to_call(ask, together, choice, sent):
    """Peer bug 17 (EchoFlow 111): `tool_choice="required"` leaked into the panel, which was forced to call a tool."""
    model, asked = over_http(together)
    ask(model.bind_tools([weather], tool_choice=choice, parallel_tool_calls=False), "Is it raining?")
    (request,) = asked("writer")
    assert (request["tool_choice"], request["parallel_tool_calls"]) == (sent, False)
    for body in asked("a") + asked("b"):
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stop": ["END"]},
        {"response_format": {"type": "json_object"}},
        {"seed": 7, "logit_bias": {"1": 2}},
        {"temperature": 1.5, "max_tokens": 3, "top_p": 0.1},
        {"user": "me", "extra_headers": {"X-Trace": "1"}},
    ],
    ids=lambda arguments: "+".join(arguments),
)
def test_call_time_arguments_change_no_proposers_request(ask, together, arguments):
    model, asked = over_http(together)
    ask(model, "Hi")
    (plain,) = asked("a")
    ask(model, "Hi", **arguments)
    assert asked("a") == [plain, plain]
    in_body = {key: value for key, value in arguments.items() if key != "extra_headers"}
    assert in_body.items() <= asked("writer")[1].items()


def test_a_proposer_that_is_a_chat_model_with_tools_of_its_own_keeps_them(ask):
    proposer = ScriptedChatModel()
    ask(ChatMoA(proposers=[proposer.bind(tools=[AS_DICT])], aggregator=ScriptedChatModel()), "Go.")
    assert proposer.kwargs == [{"tools": [AS_DICT]}]


# -- What a proposer sees --------------------------------------------------------------------------------------------


def test_earlier_tool_calls_and_results_are_text_for_proposers_and_themselves_for_the_aggregator(ask, together):
    model, asked = over_http(together)
    conversation = [HumanMessage("Is it raining?"), AIMessage("One moment.", tool_calls=[CALL]), RESULT]
    ask(model.bind_tools([weather]), conversation)
    assert asked("a")[0]["messages"] == [
        {"role": "system", "content": CATALOG},
        {"role": "user", "content": "Is it raining?"},
        {"role": "assistant", "content": 'One moment.\n[called tool: weather({"city": "Köln"})]'},
        {"role": "user", "content": "[tool result of weather: rain]"},
    ]
    (request,) = asked("writer")
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "tool", "user"]
    assert json.loads(request["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}


def test_the_catalog_follows_the_callers_system_message_and_the_persona_follows_it(ask):
    proposer = ScriptedChatModel()
    persona = Proposer(model=proposer, instructions="Talk like a pirate.")
    model = ChatMoA(proposers=[persona], aggregator=ScriptedChatModel()).bind(tools=[AS_DICT])
    ask(model, [SystemMessage("Be brief."), HumanMessage("Hi")])
    assert proposer.seen[0][0].text == f"Be brief.\n\n{CATALOG}\n\nTalk like a pirate."


TEXT = [{"type": "text", "text": " "}]
HISTORIES = {
    "a trailing assistant turn": [HumanMessage("Hi"), AIMessage("Hello")],
    "an empty user turn": [HumanMessage(""), AIMessage("Hello"), HumanMessage("Hi")],
    "a blank user turn": [HumanMessage("Hi"), HumanMessage(" \n"), AIMessage("Hello")],
    "a user turn without blocks": [HumanMessage("Hi"), HumanMessage([]), AIMessage("Hello")],
    "a user turn of an empty block": [HumanMessage("Hi"), HumanMessage(TEXT), AIMessage("Hello")],
    "two user turns in a row": [HumanMessage("Hi"), HumanMessage("there")],
    "two user turns, text and blocks": [HumanMessage("Hi"), HumanMessage([{"type": "text", "text": "there"}])],
    "two assistant turns in a row": [HumanMessage("Hi"), AIMessage("a"), AIMessage("b"), HumanMessage("?")],
    "an empty assistant turn": [HumanMessage("Hi"), AIMessage(""), HumanMessage("there")],
    "a tool result last": [HumanMessage("Hi"), CALLING, RESULT],
    "two tool results last": [HumanMessage("Hi"), CALLING, RESULT, RESULT],
    "a question after tool results": [HumanMessage("Hi"), CALLING, RESULT, HumanMessage("And?")],
    "an empty tool result": [HumanMessage("Hi"), CALLING, ToolMessage("", tool_call_id="call_1")],
    "tool calls last": [HumanMessage("Hi"), CALLING],
    "a system message in front": [SystemMessage("Be kind."), HumanMessage("Hi"), AIMessage("Hello")],
    "a system message alone": [SystemMessage("Be kind.")],
}


@pytest.mark.parametrize("tools", [[], [AS_DICT]], ids=["without tools", "with tools"])
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_proposers_view_alternates_and_ends_on_a_user_turn_that_is_not_empty(history, tools):
    """Peer bug 8 (Hermes; 9router 2876): a trailing assistant turn, an empty one and two in a row are a 400."""
    proposer, aggregator = ScriptedChatModel(), ScriptedChatModel()
    ChatMoA(proposers=[proposer], rounds=2, aggregator=aggregator).invoke(history, tools=tools)
    for seen in proposer.seen:
        turns = [message for message in seen if message.type != "system"]
        assert "system" not in [message.type for message in seen[1:]]
        assert turns[-1].type == "human"
        assert all(message.text.strip() for message in turns)
        assert all(before.type != after.type for before, after in pairwise(turns))
        assert {message.type for message in turns} <= {"human", "ai"}


def test_what_is_missing_for_a_users_turn_is_asked_in_words():
    proposer = ScriptedChatModel()
    ChatMoA(proposers=[proposer], aggregator=ScriptedChatModel()).invoke([HumanMessage("Hi"), AIMessage("Hello")])
    assert said(proposer.seen[0]) == [("human", "Hi"), ("ai", "Hello"), ("human", CONTINUE)]


def test_a_failed_tools_result_says_so():
    model, proposer, _ = with_tools()
    failed = ToolMessage("no such city", tool_call_id="call_1", name="weather", status="error")
    model.invoke([HumanMessage("Hi"), CALLING, failed])
    assert proposer.seen[0][-1].text == "[tool result of weather (failed): no such city]"


def test_broken_tool_calls_are_text_too():
    model, proposer, _ = with_tools()
    broken = {"type": "invalid_tool_call", "id": "1", "name": "weather", "args": '{"city', "error": "cut off"}
    model.invoke([HumanMessage("Hi"), AIMessage("", invalid_tool_calls=[broken]), HumanMessage("Again")])
    assert said(proposer.seen[0])[2] == ("ai", '[called tool: weather({"city)]')


def test_a_proposers_own_tool_call_is_shown_as_text_and_neither_run_nor_returned(ask, together):
    """Peer bug 7 (Hermes 60272): advisers called tools, or claimed to have run them."""
    calling = Reply(text=None, tool_calls=(WIRE_CALL,))
    model, asked = over_http(together, **{"lab/a": calling, "lab/b": Reply(text="Hm.", tool_calls=(WIRE_CALL,))})
    answer = ask(model.bind_tools([weather]), "Is it raining?")
    called = '[called tool: weather({"city": "Köln"})]'
    assert asked("writer")[0]["messages"][-1]["content"].endswith(f"\n1. {called}\n2. Hm.\n{called}")
    assert (answer.text, answer.tool_calls) == ("done", [])
    assert len(asked("a")) == len(asked("b")) == 1
    assert [call["status"] for call in answer.response_metadata["moa"]["layers"][0]] == ["ok", "ok"]


# -- Where references go ---------------------------------------------------------------------------------------------

NUMBERED = AGGREGATE_AND_SYNTHESIZE + "\n1. advice"
ADVICE = ACT_ON_ADVICE + NUMBERED
QUESTION = [SystemMessage("Be brief."), HumanMessage("Hi")]
AFTER_A_TOOL = [*QUESTION, CALLING, RESULT]
SECOND = [*QUESTION, AIMessage("Yes"), HumanMessage("And?")]


@pytest.mark.parametrize(
    ("options", "tools", "conversation", "seen"),
    [
        ({}, [AS_DICT], QUESTION, ["Be brief.", f"Hi\n\n{ADVICE}"]),
        ({}, [AS_DICT], AFTER_A_TOOL, ["Be brief.", "Hi", "", "rain", ADVICE]),
        ({}, [], QUESTION, [f"Be brief.\n\n{NUMBERED}", "Hi"]),
        ({}, [], SECOND, ["Be brief.", "Hi", "Yes", f"And?\n\n{NUMBERED}"]),
        ({}, [], SECOND[:3], [f"Be brief.\n\n{NUMBERED}", "Hi", "Yes"]),
        ({"reference_placement": "system"}, [], SECOND, [f"Be brief.\n\n{NUMBERED}", "Hi", "Yes", "And?"]),
        ({"reference_placement": "tail"}, [AS_DICT], QUESTION, ["Be brief.", f"Hi\n\n{ADVICE}"]),
        ({"reference_placement": "tail"}, [], QUESTION, ["Be brief.", f"Hi\n\n{NUMBERED}"]),
        ({"reference_placement": "tail"}, [], [*QUESTION, AIMessage("Yes")], ["Be brief.", "Hi", "Yes", NUMBERED]),
        ({"reference_placement": "system"}, [AS_DICT], QUESTION, [f"Be brief.\n\n{NUMBERED}", "Hi"]),
        (
            {"reference_placement": "system"},
            [AS_DICT],
            AFTER_A_TOOL,
            [f"Be brief.\n\n{NUMBERED}", "Hi", "", "rain"],
        ),
    ],
    ids=[
        "auto with tools: merged into the user's turn",
        "auto after tool results: a turn of their own",
        "auto without tools: in front",
        "auto in a second turn: merged into the user's turn",
        "auto after an assistant's turn: in front",
        "system in a second turn",
        "tail with tools",
        "tail without tools",
        "tail after an assistant's turn",
        "system with tools",
        "system after tool results",
    ],
)
def test_references_go_where_the_placement_says(ask, options, tools, conversation, seen):
    proposer, aggregator = ScriptedChatModel(reply="advice"), ScriptedChatModel(reply="done")
    ask(ChatMoA(proposers=[proposer], aggregator=aggregator, **options), conversation, tools=tools)
    assert [message.text for message in aggregator.seen[0]] == seen


def test_later_layers_get_the_references_at_the_tail_too_when_told_so(ask):
    model, proposer, _ = with_tools(rounds=2, reference_placement="tail")
    ask(model, "Hi")
    assert said(proposer.seen[1]) == [("system", CATALOG), ("human", f"Hi\n\n{NUMBERED}")]


def test_references_join_a_users_turn_of_blocks_as_a_block(ask):
    model, _, aggregator = with_tools()
    ask(model, [HumanMessage([{"type": "text", "text": "Hi"}])])
    assert aggregator.seen[0][0].content == [{"type": "text", "text": "Hi"}, {"type": "text", "text": f"\n\n{ADVICE}"}]


def test_between_the_steps_of_a_turn_the_aggregators_prefix_is_the_same_to_the_byte(ask, together):
    """Peer bug 9 (Hermes 57675, 112358): guidance in the prefix took prompt cache hits from 85 % to 2 %."""
    model, asked = over_http(together, **{"lab/writer": Reply(text=None, tool_calls=(WIRE_CALL,))})
    bound = model.bind_tools([weather], tool_choice="auto")
    conversation = [SystemMessage("Be brief."), HumanMessage("Is it raining?")]
    for step in range(4):
        answer = ask(bound, conversation)
        conversation += [answer, ToolMessage(f"rain {step}", tool_call_id=answer.tool_calls[0]["id"])]
    assert len(asked("a")) == len(asked("b")) == 1
    first, *later = asked("writer")
    assert len(later) == 3
    assert len({json.dumps(body["tools"]) for body in [first, *later]}) == 1
    # In the first step the advice stands in the user's turn: what is before it is the prefix.
    asking, advice = first["messages"][-1]["content"].split("\n\n", 1)
    prefix = json.dumps([*first["messages"][:-1], {**first["messages"][-1], "content": asking}])
    for body in later:
        *before, tail = body["messages"]
        now = json.dumps(before)
        assert now.startswith(prefix.removesuffix("]"))
        assert (tail["role"], tail["content"]) == ("user", advice)
        prefix = now


def test_from_the_second_turn_of_a_chat_on_the_aggregators_prefix_is_the_conversation(ask, together):
    model, asked = over_http(together)
    conversation = [SystemMessage("Be brief."), HumanMessage("One?")]
    for question in ("Two?", "Three?", "Four?"):
        conversation += [ask(model, conversation), HumanMessage(question)]
    ask(model, conversation)
    first, second, third, fourth = [body["messages"] for body in asked("writer")]
    assert [message["role"] for message in first] == ["system", "user"]
    for before, after in ((second, third), (third, fourth)):
        *history, question = before
        assert after[: len(history)] == history
        assert after[len(history)]["content"] == question["content"].partition("\n\n")[0]
    assert fourth[0] == {"role": "system", "content": "Be brief."}


# -- The answer comes as the aggregator gave it ----------------------------------------------------------------------


def test_the_aggregators_tool_calls_are_the_answers(ask, together):
    model, _ = over_http(together, **{"lab/writer": Reply(text=None, tool_calls=(WIRE_CALL,))})
    answer = ask(model.bind_tools([weather]), "Is it raining?")
    (call,) = answer.tool_calls
    assert {key: call[key] for key in CALL} == CALL
    assert answer.response_metadata["finish_reason"] == "tool_calls"


async def test_tool_calls_stream_in_chunks(together):
    model, _ = over_http(together, **{"lab/writer": Reply(text=None, tool_calls=(WIRE_CALL,))})
    bound = model.bind_tools([weather])
    for chunks in (list(bound.stream("Hi")), [chunk async for chunk in bound.astream("Hi")]):
        calls = [call for chunk in chunks for call in chunk.tool_call_chunks]
        assert [call["name"] for call in calls if call["name"]] == ["weather"]
        assert [call["args"] for call in calls if call["args"]] == ['{"city":', ' "Köln"}']


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
def test_the_finish_reason_comes_as_the_aggregator_gave_it(ask, together, reason):
    model, _ = over_http(together, **{"lab/writer": Reply(text="x y", finish_reason=reason)})
    assert ask(model, "Hi").response_metadata["finish_reason"] == reason


def test_logprobs_come_as_the_aggregator_gave_them(ask, together):
    logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}], "refusal": None}
    model, asked = over_http(together, **{"lab/writer": Reply(text="x", logprobs=logprobs)})
    answer = ask(model.bind(logprobs=True), "Hi")
    assert answer.response_metadata["logprobs"]["content"] == logprobs["content"]
    assert asked("writer")[0]["logprobs"] is True
    assert "logprobs" not in asked("a")[0]


# -- Structured output -----------------------------------------------------------------------------------------------


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="The question.")
    punchline: str


class JokeDict(TypedDict):
    """A joke."""

    setup: Annotated[str, ..., "The question."]
    punchline: Annotated[str, ..., "The end."]


JOKE = {"setup": "Why?", "punchline": "Because."}
JOKE_SCHEMA = {
    "title": "Joke",
    "description": "A joke.",
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
    "additionalProperties": False,
}
SCHEMAS = {"pydantic": Joke, "TypedDict": JokeDict, "JSON schema": JOKE_SCHEMA}
METHODS = [
    ("json_schema", None),
    ("json_schema", True),
    ("function_calling", None),
    ("function_calling", True),
    ("json_mode", None),
]


def joking(body):
    """Answer as a model that keeps to the schema."""
    if body["model"] != "lab/writer":
        return "Tell one about time."
    if "tools" not in body:
        return json.dumps(JOKE)
    name = body["tools"][0]["function"]["name"]
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(JOKE)}}
    return Reply(text=None, tool_calls=(call,))


@pytest.fixture(scope="module")
def jokers():
    """A mixture whose aggregator keeps to a schema, and its server."""
    with OpenAIServer(joking) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOGETHER_API_BASE", server.url)
        patch.setenv("TOGETHER_API_KEY", "test-key")
        yield ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/writer"), server


@pytest.fixture
def tell(ask, jokers):
    """Ask for a joke in a schema; return the last value of a stream, as the next step of a chain gets it."""
    model, server = jokers
    server.reset()

    def tell(schema, method, strict, **options):
        options |= {} if strict is None else {"strict": strict}
        structured = model.with_structured_output(schema, method=method, **options)
        return ask(structured | RunnableLambda(lambda value: value), "A joke!"), server.requests

    return tell


every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
every_method = pytest.mark.parametrize(("method", "strict"), METHODS)
# Of langchain-openai, which streams the parsed object too.
quiet = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


@quiet
@every_schema
@every_method
def test_a_schema_is_the_aggregators_and_the_answer_is_parsed(tell, method, strict, schema):
    joke, requests = tell(schema, method, strict)
    assert joke == (Joke(**JOKE) if schema is Joke else JOKE)
    assert len(requests) == 3
    for body in requests:
        asked_for = {"tools", "tool_choice", "response_format", "parallel_tool_calls"} & set(body)
        assert bool(asked_for) == (body["model"] == "lab/writer")
        if asked_for and strict:
            wanted = body["tools"][0]["function"] if method == "function_calling" else body["response_format"]
            assert wanted.get("json_schema", wanted)["strict"] is True


@quiet
@every_schema
@every_method
def test_with_include_raw_the_message_is_there_with_the_usage_of_all_calls(tell, ask, method, strict, schema):
    result, _ = tell(schema, method, strict, include_raw=True)
    assert result["parsed"] == (Joke(**JOKE) if schema is Joke else JOKE)
    assert result["parsing_error"] is None
    # langchain-openai (1.7) reports no usage of a stream with a response format.
    reported = 2 if "stream" in ask.__name__ and method != "function_calling" else 3
    assert result["raw"].usage_metadata["total_tokens"] == reported * 18
    assert len(result["raw"].response_metadata["moa"]["layers"][0]) == 2


def test_an_answer_that_does_not_fit_the_schema_is_the_parsers_error(together):
    together({"lab/a": "advice", "lab/writer": '{"setup": "Why?"}'})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/writer")
    result = model.with_structured_output(Joke, method="json_mode", include_raw=True).invoke("A joke!")
    assert result["parsed"] is None
    assert "punchline" in str(result["parsing_error"])
    assert result["raw"].text == '{"setup": "Why?"}'


@pytest.mark.parametrize(
    "take",
    [lambda model: model.bind_tools([weather]), lambda model: model.with_structured_output(Joke)],
    ids=["tools", "a schema"],
)
def test_an_aggregator_that_is_no_chat_model_takes_no_tools_and_says_so(take):
    plain = RunnableLambda(lambda _: AIMessage("plain"))
    with pytest.raises(ValueError, match="aggregator must be a chat model to take tools or a schema"):
        take(ChatMoA(proposers=[ScriptedChatModel()], aggregator=plain))


def test_an_aggregator_with_arguments_bound_takes_tools_too(ask, together):
    server = together()
    model = ChatMoA(proposers=["lab/a"], aggregator=ChatTogether(model="lab/writer", **http_clients()).bind(seed=7))
    ask(model.bind_tools([weather]), "Hi")
    request = server.requests[-1]
    assert request["seed"] == 7
    assert request["tools"][0]["function"]["name"] == "weather"


def test_tools_for_an_aggregator_that_takes_none_are_refused_by_its_name():
    aggregator = FakeListChatModel(responses=["done"], name="plain")
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=aggregator)
    with pytest.raises(NotImplementedError, match="The aggregator 'plain' takes no tools: give another aggregator"):
        model.bind_tools([weather])
