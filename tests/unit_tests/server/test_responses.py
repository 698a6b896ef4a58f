"""`POST /v1/responses`: everything sent is checked against the types of OpenAI's SDK."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from langchain_moa import ChatMoA
from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.responses_api.request import parse
from tests.fakes import ChunkedChatModel, ScriptedChatModel
from tests.openai_server import Reply
from tests.properties import any_text, without_a_clock
from tests.unit_tests.server.conftest import mixture

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS, "strict": True}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
OPENING = ["response.created", "response.in_progress"]
TEXT_BEGINS = ["response.output_item.added", "response.content_part.added"]
TEXT_ENDS = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


@pytest.fixture
def upstream(together):
    """Return a function from the aggregator's reply to a server of proposers and aggregator, and their mixture."""

    def start(reply="The whole answer."):
        server = together(lambda body: reply if body["model"] == "x/c" else "A proposal.")
        return server, ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c", include_references=True)

    return start


def post(client, **fields):
    return client.post("/v1/responses", json={"model": "moa-1", "input": "Hello?", **fields})


def ask(client, **fields) -> Response:
    response = post(client, **fields)
    assert response.status_code == 200, response.text
    return Response.model_validate(response.json())


def stream(client, **fields):
    """Return a stream's events: each is whole and of OpenAI's type, and they are numbered."""
    response = post(client, stream=True, **fields)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, end = response.text.split("\n\n")
    assert end == ""
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(EVENT.validate_python(json.loads(data.removeprefix("data: "))))
        assert name == f"event: {events[-1].type}"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def types(events):
    return [event.type for event in events]


def without_ids(response: Response):
    return [item.model_dump(exclude={"id"}) for item in response.output]


def chunked(*chunks: AIMessageChunk, **fields: Any) -> ChunkedChatModel:
    last = AIMessageChunk("", response_metadata={"finish_reason": fields.pop("finish_reason", "stop")})
    return ChunkedChatModel(chunks=[*chunks, last], **fields)


def test_an_answer_is_a_response_with_the_sum_of_all_usage(serve, upstream):
    _, model = upstream()
    answer = ask(serve(model))
    assert (answer.object, answer.status, answer.model, answer.output_text) == (
        "response",
        "completed",
        "moa-1",
        "The whole answer.",
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (33, 21, 54)
    assert (answer.error, answer.incomplete_details, answer.previous_response_id) == (None, None, None)


def test_an_answer_tells_who_took_part_but_not_what_they_said(serve, upstream):
    _, model = upstream()
    response = post(serve(model))
    assert "A proposal." not in response.text
    assert [call["status"] for call in response.json()["moa"]["layers"][0]] == ["ok", "ok"]


def test_a_response_repeats_what_was_asked(serve, upstream):
    _, model = upstream()
    asked = {
        "instructions": "Be kind.",
        "max_output_tokens": 50,
        "metadata": {"trip": "3"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "tool_choice": "none",
        "tools": [TOOL],
        "top_p": 0.9,
        "user": "ada",
    }
    answer = post(serve(model), **asked, text={"verbosity": "low"}).json()
    assert {name: answer[name] for name in asked} == asked
    assert answer["text"] == {"format": {"type": "text"}, "verbosity": "low"}


def test_a_stream_brings_the_answer_bit_by_bit_in_the_order_of_openais_events(serve, upstream):
    _, model = upstream()
    events = stream(serve(model))
    texts = [event for event in events if event.type == "response.output_text.delta"]
    middle = ["response.output_text.delta"] * len(texts)
    assert types(events) == [*OPENING, *TEXT_BEGINS, *middle, *TEXT_ENDS, "response.completed"]
    assert "".join(event.delta for event in texts) == events[-4].text == "The whole answer."
    assert {event.item_id for event in texts} == {events[2].item.id}
    final = events[-1].response
    assert final.output == [events[-2].item]
    assert (final.status, final.usage.total_tokens, final.id) == ("completed", 54, events[0].response.id)
    assert [call["status"] for call in final.moa["layers"][0]] == ["ok", "ok"]
    assert (events[0].response.status, events[0].response.output) == ("in_progress", [])


def test_tool_calls_come_whole_and_in_parts(serve, upstream):
    _, model = upstream(Reply(text="Let me see.", tool_calls=(CALL, {**CALL, "id": "c2"})))
    client = serve(model)
    answer = ask(client, tools=[TOOL])
    said, *calls = answer.output
    assert said.content[0].text == "Let me see."
    assert [(call.call_id, call.name, call.arguments, call.status) for call in calls] == [
        ("c1", "weather", '{"city": "Paris"}', "completed"),
        ("c2", "weather", '{"city": "Paris"}', "completed"),
    ]
    events = stream(client, tools=[TOOL])
    assert without_ids(events[-1].response) == without_ids(answer)
    order = [kind for kind in types(events) if not kind.endswith(".delta")]
    added, done = "response.output_item.added", "response.output_item.done"
    arguments = "response.function_call_arguments.done"
    assert order == [*OPENING, *TEXT_BEGINS, *TEXT_ENDS, added, added, *[arguments, done] * 2, "response.completed"]
    for call in events[-1].response.output[1:]:
        deltas = [e for e in events if e.type == "response.function_call_arguments.delta" and e.item_id == call.id]
        assert "".join(event.delta for event in deltas) == call.arguments
        assert {event.output_index for event in deltas} == {events[-1].response.output.index(call)}


def test_a_refusal_is_a_part_of_its_own(serve):
    writer = chunked(
        AIMessageChunk("Well. "),
        AIMessageChunk("", additional_kwargs={"refusal": "I will "}),
        AIMessageChunk("", additional_kwargs={"refusal": "not."}),
    )
    client = serve(mixture(aggregator=writer))
    events = stream(client)
    said = ["response.output_text.delta", "response.output_text.done", "response.content_part.done"]
    refused = ["response.content_part.added", *["response.refusal.delta"] * 2, "response.refusal.done"]
    ends = ["response.content_part.done", "response.output_item.done", "response.completed"]
    assert types(events) == [*OPENING, *TEXT_BEGINS, *said, *refused, *ends]
    assert [part.type for part in events[-1].response.output[0].content] == ["output_text", "refusal"]
    assert events[-1].response.output[0].content[1].refusal == "I will not."
    assert without_ids(ask(client)) == without_ids(events[-1].response)


@pytest.mark.parametrize(
    ("finish_reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_off_is_incomplete_and_says_why(serve, finish_reason, why):
    client = serve(mixture(aggregator=ScriptedChatModel(reply="Half of", finish_reason=finish_reason)))
    answer = ask(client)
    *_, last = stream(client)
    assert last.type == "response.incomplete"
    for response in (answer, last.response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", why)
        assert (response.output[0].status, response.output_text) == ("incomplete", "Half of")


def test_an_error_before_the_first_event_has_its_status(serve, upstream):
    _, model = upstream(Reply(status=429, error="Slow down."))
    for is_stream in (False, True):
        response = post(serve(model), stream=is_stream)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")


def test_an_error_in_a_stream_is_an_error_event_and_a_failed_response(serve):
    writer = ScriptedChatModel(reply="begun but never ended", error=TimeoutError("too slow"), error_after=2)
    *_, error, failed = stream(serve(mixture(aggregator=writer)))
    assert (error.type, error.code, error.message) == ("error", "timeout", "too slow")
    assert error.error["message"] == "too slow"  # what the SDKs look at
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert (failed.response.error.code, failed.response.error.message) == ("server_error", "too slow")
    assert (failed.response.output[0].status, failed.response.output_text) == ("incomplete", "begun but")


def test_a_silent_stream_opens_and_then_sends_comments_so_that_no_proxy_closes_it(serve):
    gate = threading.Event()
    client = serve(mixture(proposer=ScriptedChatModel(waits_for=gate)), keep_alive=0.01)
    asked = {"model": "moa-1", "input": "Hello?", "stream": True}
    with client.stream("POST", "/v1/responses", json=asked) as response:
        lines = (line for line in response.iter_lines() if line and not line.startswith("data: "))
        opening = [f"event: {name}" for name in OPENING]
        assert [next(lines) for _ in range(4)] == [*opening, ": keep-alive", ": keep-alive"]
        gate.set()
        assert list(lines)[-1] == "event: response.completed"


def test_upstream_sees_what_the_same_chat_completion_sends(serve, upstream):
    server, model = upstream()
    client = serve(model)
    picture = "data:image/png;base64,AA"
    post(
        client,
        instructions="Be kind.",
        input=[
            {"role": "developer", "content": "Be brief."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_image", "image_url": picture, "detail": "low"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}],
            },
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "c1",
                "name": "weather",
                "arguments": '{"city": "Paris"}',
            },
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "Rain."}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Why?"},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}},
        max_output_tokens=5,
        temperature=0.1,
        top_p=0.5,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        reasoning={"effort": "low"},
    )
    responses = server.requests[:]
    server.reset()
    chat = {
        "model": "moa-1",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    CALL,
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
            {"role": "tool", "tool_call_id": "c2", "content": "Rain."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Why?"},
        ],
        "tools": [CHAT_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
        },
        "max_tokens": 5,
        "temperature": 0.1,
        "top_p": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
    }
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    assert len(responses) == 3
    assert sorted(responses, key=json.dumps) == sorted(server.requests, key=json.dumps)


def test_of_the_tools_only_those_that_are_allowed_are_offered(serve, upstream):
    server, model = upstream()
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    ask(serve(model), tools=[{**TOOL, "name": "other"}, TOOL], tool_choice=allowed)
    assert (server.requests[-1]["tools"], server.requests[-1]["tool_choice"]) == ([CHAT_TOOL], "required")


def test_fields_about_tools_are_taken_without_tools(serve, upstream):
    _, model = upstream()
    assert ask(serve(model), tools=[], tool_choice="auto", parallel_tool_calls=True).output_text == "The whole answer."


def test_log_probabilities_come_in_this_apis_form(serve, upstream):
    token = {"token": "é", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "e", "logprob": -2.5}]}
    _, model = upstream(Reply(text="é", logprobs={"content": [token], "refusal": None}))
    [logprob] = ask(serve(model), include=["message.output_text.logprobs"]).output[0].content[0].logprobs
    assert (logprob.token, logprob.bytes, logprob.top_logprobs[0].bytes) == ("é", [195, 169], [101])


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation as input"),
        ({"conversation": "conv_1"}, "conversation", "send the whole conversation as input"),
        ({"background": True}, "background", "keep the connection open, or stream"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "send instructions and input"),
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools.1", "Tools of type 'web_search' are not supported"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools.0", "Send tools of type 'function'"),
        ({"tools": [{"type": "function"}]}, "tools.0.name", "tools.0.name: Field required"),
        ({"tool_choice": "required"}, "tool_choice", "tool_choice needs tools"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice", "web_search"),
        ({"messages": []}, "messages", "use input instead"),
        ({"max_tokens": 5}, "max_tokens", "use max_output_tokens instead"),
        ({"response_format": {"type": "json_object"}}, "response_format", "use text.format instead"),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater than or equal to 1"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name", "Field required"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format", "grammar"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "reasoning.mode is not known to this server"),
        ({"wings": 2}, "wings", "wings is not known to this server"),
        ({"rounds": 2}, "rounds", "unless it is started with --allow-overrides"),
        ({"input": []}, "input", "at least 1 item"),
        ({"input": " "}, "input", "input: The last message of the user is empty"),
        ({"input": [{"role": "user", "content": "Hi"}] * 2049}, "input", "input: List should have at most"),
        ({"input": 5}, "input", "input: "),
        ({"input": ["Hi"]}, "input.0", "must be objects"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0", "send the item itself"),
        ({"input": [{"id": "msg_1"}]}, "input.0", "item_reference"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input.0", "type 'web_search_call'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", "input.0.role: "),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content", "input.0.content: "),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input.0.content.0", "input_audio"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            "input.0.content.0.file_id",
            "send image_url or file_data",
        ),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id", "Field required"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(serve, upstream, fields, param, says):
    server, model = upstream()
    response = post(serve(model), **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert says in error["message"]
    assert server.requests == []


def test_what_cannot_change_the_answer_is_taken_and_named(serve, upstream):
    _, model = upstream()
    response = post(
        serve(model),
        background=False,
        include=["reasoning.encrypted_content"],
        max_tool_calls=3,
        previous_response_id=None,
        reasoning={"effort": "low", "summary": "auto"},
        safety_identifier="ada",
        store=True,
        truncation="auto",
    )
    assert response.status_code == 200
    assert sorted(response.headers["x-moa-ignored"].split(", ")) == [
        "include",
        "max_tool_calls",
        "reasoning.summary",
        "store",
        "truncation",
    ]
    assert response.json()["store"] is False
    assert "x-moa-ignored" not in post(serve(model), store=False, truncation="disabled").headers


def test_a_request_may_change_the_mixture_where_that_is_allowed(serve, upstream):
    server, model = upstream()
    answer = ask(serve(model, allow_overrides=True), rounds=2, proposers=["x/d"])
    assert [[call["model"] for call in layer] for layer in answer.moa["layers"]] == [["x/d"], ["x/d"]]
    assert len(server.requests) == 3


def test_the_key_is_required_here_too(serve, upstream):
    _, model = upstream()
    client = serve(model, api_key="right")
    assert post(client).status_code == 401
    client.headers["authorization"] = "Bearer right"
    assert post(client).status_code == 200


def test_a_client_that_leaves_ends_the_calls_upstream(serve, upstream):
    server, model = upstream(Reply(text="begun but", gate=threading.Event()))
    asked = {"model": "moa-1", "input": "Hello?", "stream": True}
    with serve(model).stream("POST", "/v1/responses", json=asked) as response:
        assert next(response.iter_lines()) == "event: response.created"
    server.wait_for(lambda: server.closed_by_client == ["x/c"])


_NAMES = st.sampled_from(
    ["type", "role", "content", "text", "id", "call_id", "name", "arguments", "output", "image_url", "refusal"]
)
_WORDS = st.sampled_from(
    ["message", "user", "assistant", "input_text", "output_text", "input_image", "function_call", "reasoning", "{}"]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORDS | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@without_a_clock
@given(st.lists(st.dictionaries(_NAMES, _ANYTHING, max_size=5), max_size=4) | _ANYTHING, _ANYTHING)
def test_no_input_is_an_error_of_the_server(given_input, given_tools):
    try:
        _, completion = parse({"model": "m", "input": given_input, "tools": given_tools}, allow_overrides=False)
        completion.conversation()
    except ApiError as error:
        assert error.status == 400
