"""Requests that nobody would write: a client's mistake is never the server's, and costs no call."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from langchain_moa import ChatMoA
from langchain_moa.server.app import create_app
from langchain_moa.server.openapi import document
from langchain_moa.server.served import Served
from tests.openai_server import OpenAIServer
from tests.properties import any_text
from tests.unit_tests.server.conftest import HELLO, running

KEY = {"TOGETHER_API_KEY": "test-key"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(upstream: OpenAIServer) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOGETHER_API_KEY", "test-key")
        patch.setenv("TOGETHER_API_BASE", upstream.url)
        model = ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c")
        with running(create_app(Served({"moa-1": model}), allow_overrides=True, keep_alive=60)) as client:
            yield client


@pytest.fixture
def check(client, upstream):
    """Send a body, and hold that it is answered, or refused before any call."""

    def check(body, headers=None):
        before = len(upstream.requests)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = client.post(
            "/v1/chat/completions", content=content, headers={"content-type": "application/json", **(headers or {})}
        )
        assert response.status_code < 500, response.text
        if response.status_code != 200:
            assert response.json()["error"]["message"]
            assert len(upstream.requests) == before, response.text
        return response

    return check


without_a_clock = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


def mostly(right: st.SearchStrategy) -> st.SearchStrategy:
    return right | right | right | anything


part = st.fixed_dictionaries(
    {"type": mostly(st.sampled_from(["text", "image_url", "file", "refusal", "input_audio"]))},
    optional={
        "text": mostly(any_text),
        "image_url": mostly(
            st.fixed_dictionaries({}, optional={"url": mostly(st.just("data:,x")), "detail": anything})
        ),
        "file": mostly(st.fixed_dictionaries({}, optional={"file_data": mostly(any_text), "filename": anything})),
        "refusal": mostly(any_text),
        "cache_control": anything,
    },
)
call = st.fixed_dictionaries(
    {},
    optional={
        "id": mostly(any_text),
        "type": mostly(st.just("function")),
        "function": mostly(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": mostly(any_text),
                    "arguments": mostly(
                        st.sampled_from(["{}", "", "[]", "{", '{"a": 1e999}', '{"a": "\\ud83d"}', "[" * 5000])
                    ),
                },
            )
        ),
    },
)
message = st.fixed_dictionaries(
    {
        "role": mostly(st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "ai"])),
        "content": mostly(any_text | st.lists(mostly(part), max_size=3)),
    },
    optional={
        "name": mostly(any_text),
        "tool_calls": mostly(st.lists(mostly(call), max_size=2)),
        "tool_call_id": mostly(any_text),
        "refusal": anything,
        "id": anything,
        "additional_kwargs": anything,
        "response_metadata": anything,
        "type": anything,
        "lc": anything,
    },
)
function = st.fixed_dictionaries(
    {},
    optional={"name": mostly(any_text), "description": anything, "parameters": anything, "strict": anything},
)
tool = st.fixed_dictionaries({"type": mostly(st.just("function"))}, optional={"function": mostly(function)})
OPTIONS = [
    "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs",
    "reasoning_effort", "verbosity", "service_tier", "prompt_cache_key", "top_k", "min_p", "repetition_penalty",
    "stream", "stream_options", "tool_choice", "parallel_tool_calls", "response_format", "max_tokens",
    "max_completion_tokens", "stop", "n", "modalities", "user", "safety_identifier", "metadata", "store", "provider",
    "rounds", "proposers", "layers", "aggregator", "aggregation", "quorum", "timeout", "deadline", "grace",
]  # fmt: skip


@given(st.lists(mostly(message), max_size=4))
@without_a_clock
def test_malformed_messages_are_refused_before_any_call(check, messages):
    check({**HELLO, "messages": messages})
    check({**HELLO, "messages": [*messages, *HELLO["messages"]]})


@given(st.dictionaries(st.sampled_from(OPTIONS), anything, max_size=3))
@without_a_clock
def test_malformed_options_are_refused_before_any_call(check, options):
    check({**HELLO, **options})


@given(st.lists(mostly(tool), max_size=3), anything)
@without_a_clock
def test_malformed_tools_are_refused_before_any_call(check, tools, choice):
    check({**HELLO, "tools": tools})
    check({**HELLO, "tools": tools, "tool_choice": choice})


@given(anything | st.dictionaries(any_text, anything))
@without_a_clock
def test_bodies_of_any_kind_are_refused_before_any_call(check, body):
    check(body)


@given(st.binary(), st.sampled_from(["application/json", "application/json; charset=utf-16", "text/json", "", "\xe9"]))
@without_a_clock
def test_bytes_of_any_kind_are_refused_before_any_call(check, content, kind):
    check(content, {"content-type": kind.encode("latin-1")})


NUMBERS = ["1e999", "-1e999", "NaN", "Infinity", "1" * 5000, "1e-999", "9" * 30, "-0.0", "1E400"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", [*OPTIONS, "messages", "model", "tools"])
def test_no_number_is_too_much(check, name, number):
    for value in (number, f"[{number}]", f'{{"x": {number}}}'):
        body = json.dumps({**HELLO, name: "VALUE"}).replace('"VALUE"', value)
        check(body.encode())


def test_the_document_is_served(client):
    assert client.get("/openapi.json").json() == document(allow_overrides=True)


described = schemathesis.openapi.from_dict(document(allow_overrides=True))


@described.parametrize()
@settings(without_a_clock, max_examples=20, suppress_health_check=list(HealthCheck))
def test_the_api_is_as_its_document_says(case, client, upstream):
    before = len(upstream.requests)
    response = case.call(base_url=str(client.base_url))
    # Whether the model is served and the question is empty is in no schema.
    case.validate_response(response, excluded_checks=[positive_data_acceptance])
    assert response.status_code < 500
    if response.status_code != 200:
        assert len(upstream.requests) == before
