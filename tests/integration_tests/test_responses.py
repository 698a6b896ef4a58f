"""`POST /v1/responses` of a `moa serve`, asked by OpenAI's SDK and by `ChatOpenAI`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from langchain_moa._models.transport import http_clients
from tests.integration_tests.test_server import MIXTURE, Served, serving
from tests.openai_server import OpenAIServer, Reply
from tests.standard_model import ScriptedModelTests, answer

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ASKED: dict[str, Any] = {"model": "moa-1", "input": "Say something short."}


class Joke(BaseModel):
    setup: str
    punchline: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with OpenAIServer(answer) as upstream, serving(*MIXTURE, upstream=upstream) as running:
        yield running


def test_openais_sdk_asks_and_streams(served):
    with served.openai() as client:
        whole = client.responses.create(**ASKED, instructions="Be kind.", temperature=0.2, max_output_tokens=50)
        assert whole.output_text == "You said: Say something short."
        assert (whole.status, whole.usage.total_tokens) == ("completed", 3 * 18)
        assert [call["status"] for call in whole.moa["layers"][0]] == ["ok", "ok"]
        events = list(client.responses.create(**ASKED, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text


async def test_openais_sdk_asks_and_streams_asynchronously(served):
    async with served.openai(openai.AsyncOpenAI) as client:
        whole = await client.responses.create(**ASKED)
        events = [event async for event in await client.responses.create(**ASKED, stream=True)]
        async with client.responses.stream(**ASKED, text_format=Joke) as stream:
            final = await stream.get_final_response()
    assert events[-1].response.output_text == whole.output_text == "You said: Say something short."
    assert final.output_parsed == Joke(setup="a value", punchline="a value")


def test_openais_sdk_parses_structured_output_and_tool_calls(served):
    with served.openai() as client:
        parsed = client.responses.parse(**ASKED, text_format=Joke)
        assert parsed.output_parsed == Joke(setup="a value", punchline="a value")
        called = client.responses.parse(**ASKED, tools=[openai.pydantic_function_tool(Joke)])
        assert called.output[0].parsed_arguments == Joke(setup="a value", punchline="a value")


def test_openais_sdk_sends_the_output_of_a_step_back_with_the_next(served):
    with served.openai() as client:
        with client.responses.stream(**ASKED, tools=[WEATHER]) as stream:
            called = stream.get_final_response()
        [call] = called.output
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "a value"})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
        conversation = [{"role": "user", "content": ASKED["input"]}, *called.output, result]
        after = client.responses.create(model="moa-1", input=conversation, tools=[WEATHER])
        assert after.output_text.startswith("You said: ")
        again = [*conversation, *after.output, {"role": "user", "content": "And?"}]
        assert client.responses.create(model="moa-1", input=again).output_text == "You said: And?"


def test_errors_are_the_sdks_own(served):
    with served.openai() as client:
        with pytest.raises(openai.NotFoundError, match="Model 'gpt-9' is unknown"):
            client.responses.create(model="gpt-9", input="Hi")
        with pytest.raises(openai.BadRequestError, match="send the whole conversation as input") as refused:
            client.responses.create(**ASKED, previous_response_id="resp_1")
        assert refused.value.param == "previous_response_id"


@pytest.mark.parametrize("fault", ["disconnect", "error_event"])
def test_an_error_in_the_middle_of_a_stream_is_raised_by_the_sdk(fault):
    broken = Reply(text="one two three four", fault=fault)
    with (
        OpenAIServer({"x/a": "A.", "x/b": "B.", "x/c": broken}) as upstream,
        serving(*MIXTURE, upstream=upstream) as served,
        served.openai() as client,
    ):
        stream = client.responses.create(**ASKED, stream=True)
        with pytest.raises(openai.APIError, match="The aggregator failed"):
            list(stream)


@pytest.mark.parametrize("output_version", ["v0", "responses/v1", "v1"])
def test_chat_openai_goes_through_the_steps_of_an_agent(served, output_version):
    model = ChatOpenAI(
        model="moa-1",
        base_url=f"{served.url}/v1",
        api_key="any",
        use_responses_api=True,
        output_version=output_version,
        **http_clients(),
    ).bind_tools([WEATHER])
    for is_stream in (False, True):
        question = HumanMessage("Say something short.")
        called = _sum(model.stream([question])) if is_stream else model.invoke([question])
        [call] = called.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "a value"})
        result = ToolMessage("Sunny.", tool_call_id=call["id"])
        said = model.invoke([question, called, result])
        assert said.text.startswith("You said: ")
        assert said.usage_metadata["total_tokens"] == 3 * 18


def _sum(chunks: Iterator[Any]) -> AIMessage:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


# Both are ChatOpenAI's own, whoever answers it.
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
class TestChatOpenAI(ScriptedModelTests):
    """LangChain's tests of what a chat model must do, through `ChatOpenAI` with the Responses API and `moa serve`."""

    @pytest.fixture(autouse=True)
    def _served(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{served.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "any")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        # Its own async client leaks its connections when an event loop ends.
        return {"model": "moa-1", "use_responses_api": True, **http_clients()}

    @property
    def supports_audio_inputs(self) -> bool:
        """The server takes text, pictures and files."""
        return False
