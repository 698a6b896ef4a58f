import json
import threading

import pytest
from langchain_together import ChatTogether

from langchain_moa import ChatMoA
from langchain_moa._models.transport import http_clients
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.server.conftest import HELLO, mixture

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@pytest.fixture
def upstream(together):
    """Return a function from the aggregator's reply to a server of proposers and aggregator, and their mixture."""

    def start(reply="The whole answer."):
        server = together(lambda body: reply if body["model"] == "x/c" else "A proposal.")
        return server, ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c", include_references=True)

    return start


def post(client, **fields):
    return client.post("/v1/chat/completions", json={**HELLO, **fields})


def stream(client, **fields):
    """Return the JSON of a stream's events; every event must be whole, and the last one `[DONE]`."""
    response = post(client, stream=True, **fields)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_an_answer_is_a_chat_completion_with_the_sum_of_all_usage(serve, upstream):
    _, model = upstream()
    answer = post(serve(model)).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "moa-1"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The whole answer.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    details = {
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert answer["usage"] == {**{name: 3 * count for name, count in USAGE.items()}, **details}


def test_an_answer_tells_who_took_part_but_not_what_they_said(serve, upstream):
    _, model = upstream()
    response = post(serve(model))
    assert "A proposal." not in response.text
    moa = response.json()["moa"]
    assert [(call["proposer"], call["status"]) for call in moa["layers"][0]] == [("a", "ok"), ("b", "ok")]
    assert moa["aggregator"]["model"] == "x/c"


def test_of_a_proposers_error_the_account_tells_the_type_alone(serve, together):
    together(lambda body: Reply(status=401, error="wrong key: sk-12") if body["model"] == "x/b" else "Fine.")
    response = post(serve(ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c")))
    assert response.json()["moa"]["layers"][0][1]["error"] == "OpenAIAuthenticationError"
    assert "sk-12" not in response.text


def test_a_stream_brings_the_answer_bit_by_bit_and_then_why_it_ended(serve, upstream):
    _, model = upstream()
    *tokens, last = stream(serve(model))
    first, *others = [event["choices"][0]["delta"] for event in tokens]
    assert first.pop("role") == "assistant"
    assert all(set(delta) == {"content"} for delta in (first, *others))
    assert "".join(delta["content"] for delta in (first, *others)) == "The whole answer."
    assert {event["choices"][0]["finish_reason"] for event in tokens} == {None}
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert [call["status"] for call in last["moa"]["layers"][0]] == ["ok", "ok"]
    assert "A proposal." not in str(last)
    assert {event["id"] for event in tokens} == {last["id"]}


def test_a_stream_ends_with_its_usage_when_asked(serve, upstream):
    _, model = upstream()
    *_, last = stream(serve(model), stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 3 * USAGE["total_tokens"]


def test_sampling_and_format_reach_the_aggregator_alone(serve, upstream):
    server, model = upstream('{"a": 1}')
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    fields = {"temperature": 0.1, "top_p": 0.5, "seed": 3, "stop": "END", "frequency_penalty": 0.2, "top_k": 9}
    for ask in (post, stream):
        server.reset()
        ask(serve(model), **fields, max_completion_tokens=5, response_format=wanted, user="ada")
        *proposers, aggregator = server.requests
        for name, value in {**fields, "stop": ["END"], "max_tokens": 5, "response_format": wanted}.items():
            assert aggregator[name] == value
            assert all(body.get(name) != value for body in proposers)
        assert "user" not in aggregator
        assert all((body["temperature"], body["max_tokens"]) == (0.7, 2048) for body in proposers)


def test_an_answer_in_a_format_that_was_cut_off_is_an_answer(serve, upstream):
    _, model = upstream(Reply(text='{"a": ', finish_reason="length"))
    choice = post(serve(model), response_format={"type": "json_object"}).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a": ', "length")
    *_, last = stream(serve(model), response_format={"type": "json_object"})
    assert last["choices"][0]["finish_reason"] == "length"


def test_what_an_aggregator_object_sends_besides_is_sent_still(serve, together):
    server = together()
    extra = {"safety_model": "x"}
    writer = ChatTogether(model="x/c", api_key="k", base_url=server.url, extra_body=extra, **http_clients())
    post(serve(ChatMoA(proposers=["x/a"], aggregator=writer)), top_k=3, response_format={"type": "json_object"})
    asked = server.requests[-1]
    assert (asked["safety_model"], asked["top_k"], asked["response_format"]) == ("x", 3, {"type": "json_object"})


def test_halves_of_characters_reach_the_client(serve):
    writer = ScriptedChatModel(reply="\ud83d \ude00")
    client = serve(mixture(aggregator=writer))
    assert post(client).json()["choices"][0]["message"]["content"] == "\ud83d \ude00"
    first, second, _ = stream(client)
    assert first["choices"][0]["delta"]["content"] == "\ud83d"
    assert second["choices"][0]["delta"]["content"] == " \ude00"


def test_a_tool_call_comes_back_whole_and_in_parts(serve, upstream):
    server, model = upstream(Reply(text=None, tool_calls=(CALL, {**CALL, "id": "c2"})))
    client = serve(model)
    choice = post(client, tools=[TOOL], tool_choice="required", parallel_tool_calls=True).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [CALL, {**CALL, "id": "c2"}]
    asked = server.requests[-1]
    assert (asked["tools"], asked["tool_choice"], asked["parallel_tool_calls"]) == ([TOOL], "required", True)

    *parts, last = stream(client, tools=[TOOL])
    deltas = [call for part in parts for call in part["choices"][0]["delta"]["tool_calls"]]
    begun = [(call["index"], call["id"], call["function"]["name"]) for call in deltas if "id" in call]
    assert begun == [(0, "c1", "weather"), (1, "c2", "weather")]
    for index in (0, 1):
        arguments = "".join(call["function"]["arguments"] for call in deltas if call["index"] == index)
        assert json.loads(arguments) == {"city": "Paris"}
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_a_conversation_with_tools_and_images_reaches_the_aggregator_as_it_is(serve, upstream):
    server, model = upstream()
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}}
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What?"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
    ]
    assert post(serve(model), messages=history, tools=[TOOL]).status_code == 200
    seen = server.requests[-1]["messages"]
    assert seen[0] == history[0]
    assert image in seen[1]["content"]
    assert seen[2]["tool_calls"][0]["id"] == "c1"
    assert (seen[3]["role"], seen[3]["tool_call_id"], seen[3]["content"]) == ("tool", "c1", "Sunny.")


def test_log_probabilities_come_as_the_aggregator_gave_them(serve, upstream):
    logprobs = {"content": [{"token": "The", "logprob": -0.1, "bytes": None, "top_logprobs": []}], "refusal": None}
    server, model = upstream(Reply(text="The", logprobs=logprobs))
    assert post(serve(model), logprobs=True).json()["choices"][0]["logprobs"] == logprobs
    assert server.requests[-1]["logprobs"] is True


def test_arguments_that_are_no_json_come_as_they_are(serve, upstream):
    broken = {**CALL, "function": {"name": "weather", "arguments": '{"city": '}}
    _, model = upstream(Reply(text=None, tool_calls=(broken,)))
    assert post(serve(model), tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"] == [broken]


def test_an_aggregator_that_takes_no_tools_says_so(serve):
    error = post(serve(), tools=[TOOL]).json()["error"]
    assert error["param"] == "tools"
    assert error["message"] == "tools: the aggregator of 'moa-1' can't call tools; choose another model."


def test_an_aggregator_that_does_not_use_openais_sdk_gets_the_format_as_an_argument(serve):
    writer = ScriptedChatModel(reply="{}")
    post(serve(mixture(aggregator=writer)), response_format={"type": "json_object"}, temperature=0.3)
    assert writer.kwargs == [{"response_format": {"type": "json_object"}, "temperature": 0.3}]


def test_other_makers_words_for_the_end_become_openais(serve):
    writer = ScriptedChatModel(reply="cut", finish_reason="max_tokens")
    assert post(serve(mixture(aggregator=writer))).json()["choices"][0]["finish_reason"] == "length"


def test_a_mixture_that_selects_synthesizes_an_answer_in_a_format(serve, upstream):
    server, model = upstream('{"a": 1}')
    wanted = {"type": "json_object"}
    moa = post(serve(model.model_copy(update={"aggregation": "select"})), response_format=wanted).json()["moa"]
    assert moa["aggregation"] == "synthesize"
    assert server.requests[-1]["response_format"] == wanted


def test_a_vote_is_an_answer_too_and_its_voters_no_failures(serve, together):
    together(lambda body: "The answer is 42.")
    model = ChatMoA(proposers=["x/a", "x/b", "x/d"], aggregator="x/c", aggregation="vote", include_references=True)
    client = serve(model)
    answer = post(client).json()
    assert answer["choices"][0]["message"]["content"] == "The answer is 42."
    assert (answer["moa"]["aggregation"], answer["moa"]["degraded"]) == ("vote", [])
    *_, last = stream(client)
    assert last["moa"]["aggregation"] == "vote"
    assert "moa_proposer_failures_total{" not in client.get("/metrics").text


def test_usage_that_nobody_tells_is_null(serve):
    assert post(serve()).json()["usage"] is None


def test_a_silent_stream_sends_comments_so_that_no_proxy_closes_it(serve):
    gate = threading.Event()
    client = serve(mixture(proposer=ScriptedChatModel(waits_for=gate)), keep_alive=0.01)
    with client.stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(4)] == [": keep-alive", "", ": keep-alive", ""]
        gate.set()
        assert "data: [DONE]" in list(lines)


def test_a_request_may_change_the_mixture_where_that_is_allowed(serve, upstream):
    server, model = upstream()
    client = serve(model, allow_overrides=True)
    moa = post(client, rounds=2, proposers=["x/d", {"model": "x/e", "samples": 2}], quorum=3).json()["moa"]
    assert [[call["model"] for call in layer] for layer in moa["layers"]] == [["x/d", "x/e", "x/e"]] * 2
    assert len(server.requests) == 7


def test_a_change_that_makes_no_sense_is_refused(serve, upstream):
    _, model = upstream()
    client = serve(model, allow_overrides=True)
    response = post(client, quorum=9)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("quorum is 9; layer 1 has 2 proposers")


def test_the_models_are_listed_and_found(serve):
    client = serve()
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]][:3] == ["moa-1", "default", "together-moa"]
    assert client.get("/v1/models/togethercomputer/MoA-1").json()["id"] == "togethercomputer/MoA-1"
    assert client.get("/v1/models/moa-1").json() == listed["data"][0]


def test_it_says_that_it_is_healthy(serve):
    assert serve().get("/healthz").json() == {"status": "ok"}


def test_fields_without_effect_are_named_in_a_header(serve):
    client = serve()
    response = client.post("/v1/chat/completions", json={**HELLO, "store": True, "provider": {"sort": "price"}})
    assert response.status_code == 200
    assert response.headers["x-moa-ignored"] == "provider, store"
    assert "x-moa-ignored" not in client.post("/v1/chat/completions", json=HELLO).headers
