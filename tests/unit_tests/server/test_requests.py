import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from starlette.datastructures import Headers

from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.requests import parse

JSON = Headers({"content-type": "application/json; charset=utf-8"})
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


def asked(*, allow_overrides=False, **fields):
    body = json.dumps({"model": "moa-1", "messages": [USER], **fields}).encode()
    return parse(body, JSON, allow_overrides=allow_overrides)


def test_a_conversation_becomes_messages():
    messages = asked(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "name": "ada"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
            {"role": "assistant", "content": "Sunny.", "reasoning_content": "not said"},
        ]
    ).conversation()
    assert [type(message) for message in messages] == [SystemMessage, HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[1].name == "ada"
    assert messages[2].content == ""
    assert messages[2].tool_calls == [{"id": "c1", "name": "weather", "args": {"city": "Paris"}, "type": "tool_call"}]
    assert messages[3].tool_call_id == "c1"
    assert messages[4].additional_kwargs == {}


def test_characters_that_are_escaped_as_two_halves_are_whole():
    body = b'{"model": "m", "messages": [{"role": "user", "content": "\\uD83D\\uDE00"}]}'
    assert parse(body, JSON, allow_overrides=False).conversation()[0].text == "\N{GRINNING FACE}"


def test_images_stay_content_blocks():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    blocks = [{"type": "text", "text": "What?"}, image]
    assert asked(messages=[{"role": "user", "content": blocks}]).conversation()[0].content == blocks


def test_sampling_becomes_call_time_arguments():
    given = {"temperature": 1, "top_p": 0.5, "seed": 3, "presence_penalty": 0.1, "logprobs": True, "top_logprobs": 2}
    assert asked(**given, n=1, user="ada", metadata={"k": "v"}, stream=False).arguments() == given


def test_the_newer_name_of_max_tokens_wins():
    assert asked(max_tokens=5).arguments() == {"max_tokens": 5}
    assert asked(max_tokens=5, max_completion_tokens=6).arguments() == {"max_tokens": 6}


def test_stop_is_a_list():
    assert asked(stop="END").arguments() == {"stop": ["END"]}
    assert asked(stop=["a", "b"]).arguments() == {"stop": ["a", "b"]}


def test_what_only_some_providers_know_is_told_apart():
    fields = asked(top_k=40, min_p=0.1)
    assert (fields.arguments(), fields.provider_arguments()) == ({}, {"top_k": 40, "min_p": 0.1})


def test_what_is_null_is_not_given():
    assert asked(temperature=None, functions=None, tools=None, rounds=None, n=None).arguments() == {}


def test_who_asked_goes_into_traces():
    fields = asked(user="ada", metadata={"team": "blue"}, safety_identifier="x")
    assert fields.trace_metadata() == {"team": "blue", "user": "ada", "safety_identifier": "x"}


def test_overrides_are_told_apart():
    fields = asked(allow_overrides=True, rounds=2, proposers=["a", {"model": "b", "samples": 2}], quorum=0.5)
    assert fields.overrides() == {"rounds": 2, "proposers": ["a", {"model": "b", "samples": 2}], "quorum": 0.5}
    assert fields.arguments() == {}


BLOCK = {"type": "input_audio", "input_audio": {}}
REFUSED = {
    "n": ({"n": 2}, "n", "n is 2; a mixture gives one answer, ask 2 times."),
    "audio": ({"audio": {}}, "audio", "audio is not supported: a mixture answers in text only."),
    "modalities": ({"modalities": ["audio"]}, "modalities", "modalities is ['audio']; a mixture answers in text only."),
    "functions": ({"functions": []}, "functions", "functions is not supported: use tools instead."),
    "unknown": ({"foo": 1}, "foo", "foo is not known to this server."),
    "no messages": ({"messages": []}, "messages", "messages: List should have at least 1 item"),
    "no model": ({"model": None}, "model", "model: Field required"),
    "temperature": ({"temperature": 3}, "temperature", "temperature: Input should be less than or equal to 2"),
    "a number as text": ({"max_tokens": "5"}, "max_tokens", "max_tokens: Input should be a valid integer"),
    "a long name": ({"model": "x" * 257}, "model", "model: String should have at most 256 characters"),
    "messages": ({"messages": [USER] * 2049}, "messages", "messages: List should have at most 2048 items"),
    "tools": ({"tools": [TOOL] * 129}, "tools", "tools: List should have at most 128 items"),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}] * 1025}] * 2},
        "messages",
        "messages have 2050 content parts; this server takes 2048.",
    ),
    "rounds": ({"rounds": 11}, "rounds", "rounds: Input should be less than or equal to 10"),
    "layers": ({"layers": [["a"]] * 11}, "layers", "layers: List should have at most 10 items"),
    "samples": (
        {"proposers": ["a", {"model": "b", "samples": 32}]},
        "proposers",
        "A layer of 33 proposers, samples included, is too large: at most 32.",
    ),
    "a file": ({"aggregator": "local:/x.gguf"}, "aggregator", "Model 'local:/x.gguf' is a file on the server"),
    "a file that proposes": ({"layers": [[{"model": "local:/x.GGUF"}]]}, "layers.0", "Model 'local:/x.GGUF' is a"),
    "override": (
        {"rounds": 2},
        "rounds",
        "rounds: requests can't change the mixture on this server unless it is started with ",
    ),
    "tool choice alone": ({"tool_choice": "required", "tools": []}, "tool_choice", "tool_choice needs tools."),
    "tool": ({"tools": [{"type": "custom"}]}, "tools.0.type", "tools.0.type: Input should be 'function'"),
    "nameless tool": (
        {"tools": [{"type": "function", "function": {}}]},
        "tools.0.function.name",
        "tools.0.function.name: Fi",
    ),
    "sound": (
        {"messages": [{"role": "user", "content": [BLOCK]}]},
        "messages.0.content.0",
        "messages.0.content.0: Input tag 'input_audio'",
    ),
    "content": (
        {"messages": [{"role": "user", "content": 5}]},
        "messages.0.content",
        "messages.0.content: content must be text or a",
    ),
    "role": (
        {"messages": [USER, {"role": "x", "content": "y"}]},
        "messages.1",
        "messages.1: Input tag 'x' found using 'role' does not match",
    ),
    "no role": (
        {"messages": [{"content": "y"}]},
        "messages.0",
        "messages.0: Unable to extract tag using discriminator 'role'",
    ),
    "no call id": (
        {"messages": [{"role": "tool", "content": "y"}]},
        "messages.0.tool_call_id",
        "messages.0.tool_call_id: Field required",
    ),
    "broken call": (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}]},
        "messages.0.tool_calls.0.function.arguments",
        "arguments must be a JSON object: Expecting property name enclosed in double quotes",
    ),
    "calls that are none": (
        {"messages": [{"role": "assistant", "tool_calls": "x"}]},
        "messages.0.tool_calls",
        "messages.0.tool_calls: Input should be a valid list",
    ),
}


@pytest.mark.parametrize(("fields", "param", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_refused_by_name(fields, param, message):
    with pytest.raises(ApiError) as refused:
        asked(**fields).conversation()
    assert (refused.value.status, refused.value.param) == (400, param)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"temperature": 1e999}',
        b'{"messages": [{"n": -1e400}]}',
        b"null",
        b"\xff",
        b'{"user": "\\ud83d"}',
        b'{"seed": NaN}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:8]),
)
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(ApiError, match=r"^The body is (not valid|too complex): ") as refused:
        parse(body, JSON, allow_overrides=False)
    assert refused.value.status == 400


DEEP = b'{"response_format": ' + b'{"a": ' * 100 + b"1" + b"}" * 101
WIDE = json.dumps({"tools": [[]] * 100_001}).encode()


@pytest.mark.parametrize(("body", "message"), [(DEEP, "more than 100 levels deep"), (WIDE, "more than 100000 values")])
def test_a_body_that_would_be_too_much_work_is_refused(body, message):
    with pytest.raises(ApiError, match=message) as refused:
        parse(body, JSON, allow_overrides=False)
    assert (refused.value.status, refused.value.code) == (400, "too_complex")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_sent_as_json_is_refused(kind):
    with pytest.raises(ApiError, match="Content-Type: application/json") as refused:
        parse(b"{}", Headers({"content-type": kind}), allow_overrides=False)
    assert refused.value.status == 415


def test_tools_come_with_how_to_choose_them():
    fields = asked(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert fields.functions() == [TOOL]
    assert fields.tool_arguments() == {"tool_choice": "required", "parallel_tool_calls": False}


def test_whole_numbers_may_be_written_as_decimals():
    fields = asked(max_tokens=100.0, seed=1e3, top_k=40.0)
    assert (
        repr((fields.arguments(), fields.provider_arguments())) == "({'seed': 1000, 'max_tokens': 100}, {'top_k': 40})"
    )


IGNORED = {
    "OpenAI's": {"store": True, "prompt_cache_retention": "24h", "prompt_cache_options": {}, "prediction": {}},
    "OpenRouter's": {"provider": {"order": ["x"]}, "usage": {"include": True}},
    "vLLM's": {"chat_template_kwargs": {"enable_thinking": False}, "priority": 1},
    "tools": {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    "stream options": {"stream_options": {"include_usage": True, "include_obfuscation": False}},
}


@pytest.mark.parametrize("given", IGNORED.values(), ids=IGNORED)
def test_what_has_no_effect_is_taken_and_named(given):
    fields = asked(**given)
    without = asked()
    assert (fields.arguments(), fields.provider_arguments()) == (without.arguments(), without.provider_arguments())
    names = given.keys() - {"tools"} if "stream_options" not in given else {"stream_options.include_obfuscation"}
    assert {*fields.ignored()} == names


def test_what_asks_for_nothing_is_not_named():
    assert asked(store=False, temperature=1, tools=[], stream_options={"include_usage": True}).ignored() == []
