"""A schema is never answered in prose, whatever form an aggregator's provider takes it in."""

from types import SimpleNamespace

import pytest
from pydantic import BaseModel, Field

from langchain_moa import ChatMoA
from tests.fakes import ScriptedChatModel
from tests.unit_tests import test_endings as providers

# Packages that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")

serve = providers.serve


class City(BaseModel):
    """A city."""

    name: str = Field(description="Its name.")


METHODS = {
    "langchain_openai": ("json_schema", "function_calling", "json_mode"),
    "langchain_anthropic": ("function_calling", "json_schema"),
    "langchain_google_genai": ("json_schema", "json_mode", "function_calling"),
    "langchain_ollama": ("json_schema", "function_calling", "json_mode"),
    "langchain_mistralai": ("json_schema", "function_calling", "json_mode"),
    "langchain_groq": ("json_schema", "function_calling", "json_mode"),
}
CASES = [
    (provider, method)
    for provider in (
        providers.OPENAI,
        providers.RESPONSES,
        providers.ANTHROPIC,
        providers.GEMINI,
        providers.OLLAMA,
        providers.MISTRAL,
        providers.GROQ,
    )
    for method in METHODS[provider.package]
]
ENDS = {"openai_responses": "completed", "ChatAnthropic": "end_turn", "ChatGoogleGenerativeAI": "STOP"}
JSON = b'{"name": "Paris"}'


def in_json(payload):
    """Make a payload say a JSON text where it says 42."""
    told = b'"' + JSON.replace(b'"', b'\\"') + b'"'
    if b"usageMetadata" in payload.stream:  # Gemini's says it twice
        payload.stream = payload.stream.replace(b'"42"', told, 1).replace(b'"42"', b'""')
    payload.whole, payload.stream = payload.whole.replace(b'"42"', told), payload.stream.replace(b'"42"', told)
    return payload


def mixture(aggregator, way):
    """Three proposals in prose that agree, so that a vote or a judge would take one of them."""
    proposers = [ScriptedChatModel(reply="The answer is Paris.") for _ in range(3)]
    return ChatMoA(proposers=proposers, aggregator=aggregator, aggregation=way)


@pytest.mark.parametrize("way", ["vote", "select", "analyze"])
@pytest.mark.parametrize(
    ("provider", "method"), CASES, ids=[f"{providers.name_of(provider)} {method}" for provider, method in CASES]
)
def test_a_schema_is_the_aggregators_to_answer(ask, serve, provider, method, way):
    url = serve(in_json(provider.payload(ENDS.get(providers.name_of(provider), "stop"))))
    structured = mixture(provider.build(url), way).with_structured_output(City, method=method, include_raw=True)
    if provider is providers.RESPONSES:  # its package can't parse this server's short streams
        structured = structured.steps[0]
    told = ask(structured, "Which city is the capital of France? Answer in JSON.")
    moa = told["raw"].response_metadata["moa"]
    assert moa["aggregation"] == "synthesize"
    assert moa["aggregator"] is not None
    assert told["raw"].text == JSON.decode()
    if method != "function_calling":  # there the answer is in a call, which this server's is not
        assert told.get("parsed", City(name="Paris")) == City(name="Paris")


@pytest.mark.parametrize("way", ["vote", "select", "analyze"])
@pytest.mark.parametrize("tools", [False, True], ids=["schema", "tools"])
def test_a_schema_on_bedrock_is_the_aggregators_to_answer(ask, way, tools):
    aws = pytest.importorskip("langchain_aws", reason="langchain_aws is not installed")
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    call = {"toolUseId": "tooluse_1", "name": "City", "input": {"name": "Paris"}}
    events = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"start": {"toolUse": {**call, "input": ""}}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": JSON.decode()}}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}},
    ]
    whole = {
        "output": {"message": {"role": "assistant", "content": [{"toolUse": call}]}},
        "stopReason": "tool_use",
        "usage": usage,
        "metrics": {"latencyMs": [1]},
    }
    client = SimpleNamespace(
        converse=lambda **_: whole,
        converse_stream=lambda **_: {"stream": iter(events)},
        meta=SimpleNamespace(region_name="us-east-1"),
    )
    model = aws.ChatBedrockConverse(
        model="anthropic.claude-3-haiku", client=client, bedrock_client=client, region_name="us-east-1"
    )
    mixed = mixture(model, way)
    if tools:
        assert ask(mixed.bind_tools([City]), "Which city?").tool_calls[0]["args"] == {"name": "Paris"}
    else:
        assert ask(mixed.with_structured_output(City), "Which city?") == City(name="Paris")
