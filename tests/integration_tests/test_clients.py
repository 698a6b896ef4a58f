"""Agents and SDKs of others, which ask the Responses API by default or when told to, with nothing but a URL and a key.

They need the group `ecosystem`. Those in `clients` run in environments of their own: Node's need `npm`, and
instructor's dependencies contradict this package's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import openai
import pytest
from pydantic import BaseModel

from tests.integration_tests.test_server import MIXTURE, serving
from tests.openai_server import OpenAIServer
from tests.standard_model import answer

agents = pytest.importorskip("agents")

# Of their own, whoever answers them.
pytestmark = pytest.mark.filterwarnings("ignore")

CLIENTS = Path(__file__).with_name("clients")
QUESTION = "Say something short."
SAID = f"You said: {QUESTION}"


class Joke(BaseModel):
    setup: str


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with OpenAIServer(answer) as upstream, serving(*MIXTURE, upstream=upstream) as served:
        yield f"{served.url}/v1"


@pytest.fixture(autouse=True)
def _environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it is downloaded


class TestOpenAIAgents:
    @pytest.fixture(autouse=True)
    async def _client(self, url: str) -> AsyncIterator[None]:
        # The one that it keeps for itself can't outlive the event loop of a test.
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            agents.set_default_openai_client(client, use_for_tracing=False)
            agents.set_tracing_disabled(True)
            yield

    @pytest.fixture
    def agent(self):
        @agents.function_tool
        def weather(city: str) -> str:
            """Return the weather in a city."""
            return f"Sunny in {city}."

        return agents.Agent(name="Ada", instructions="Be kind.", model="moa-1", tools=[weather])

    async def test_an_agent_runs_its_tools_over_several_turns(self, agent):
        first = await agents.Runner.run(agent, QUESTION)
        assert [item.type for item in first.new_items] == [
            "tool_call_item",
            "tool_call_output_item",
            "message_output_item",
        ]
        assert first.new_items[1].output == "Sunny in a value."
        assert first.final_output.startswith("You said: ")
        assert first.context_wrapper.usage.total_tokens == 2 * 3 * 18
        second = await agents.Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "And?"}])
        assert second.final_output.startswith("You said: ")

    async def test_an_agent_streams(self, agent):
        run = agents.Runner.run_streamed(agent, QUESTION)
        deltas = [
            event.data.delta
            async for event in run.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        assert "".join(deltas) == run.final_output

    async def test_an_agent_answers_in_a_schema_and_hands_over(self):
        writer = agents.Agent(name="Bob", model="moa-1", output_type=Joke)
        assert (await agents.Runner.run(writer, QUESTION)).final_output == Joke(setup="a value")
        first = agents.Agent(name="Ada", model="moa-1", handoffs=[writer])
        assert (await agents.Runner.run(first, QUESTION)).last_agent is writer


async def test_pydantic_ai_runs_tools_streams_and_answers_in_a_schema():
    pydantic_ai = pytest.importorskip("pydantic_ai")
    agent = pydantic_ai.Agent("openai-responses:moa-1", instructions="Be kind.")

    @agent.tool_plain
    def weather(city: str) -> str:
        """Return the weather in a city."""
        return f"Sunny in {city}."

    first = await agent.run(QUESTION)
    assert first.output.startswith("You said: ")
    assert (await agent.run("And?", message_history=first.all_messages())).output.startswith("You said: ")
    async with agent.run_stream(QUESTION) as streamed:
        assert (await streamed.get_output()).startswith("You said: ")
    assert (await pydantic_ai.Agent("openai-responses:moa-1", output_type=Joke).run(QUESTION)).output.setup == "a value"


def test_litellm_asks_and_streams(url):
    litellm = pytest.importorskip("litellm")
    asked = {"model": "openai/moa-1", "input": QUESTION, "api_base": url, "api_key": "any"}
    assert litellm.responses(**asked).output[0].content[0].text == SAID
    assert list(litellm.responses(**asked, stream=True))[-1].response.output[0].content[0].text == SAID
    # Chat completions on its side, responses on the wire.
    tool = {"type": "function", "function": {"name": "weather", "parameters": Joke.model_json_schema()}}
    question = {"role": "user", "content": QUESTION}
    chat = {"model": "openai/responses/moa-1", "api_base": url, "api_key": "any", "tools": [tool]}
    called = litellm.completion(**chat, messages=[question]).choices[0].message
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "Sunny."}
    assert litellm.completion(**chat, messages=[question, called, result]).choices[0].message.content


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the clients and the packages that they need."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(CLIENTS, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    if installed.returncode:
        pytest.skip(f"npm could not install the clients: {installed.stderr[-300:]}")
    return folder


@pytest.mark.parametrize("client", ["openai_sdk", "ai_sdk", "langchain_js"])
def test_a_client_in_node(url, node, client):
    _passes(["node", node / f"{client}.mjs", url])


def test_instructor(url):
    if not shutil.which("uv"):
        pytest.skip("uv is not installed")
    _passes(["uv", "run", "--no-project", "--with", "instructor", "python", CLIENTS / "use_instructor.py", url])


def _passes(command: list[str | Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout) == (0, "passed\n"), ended.stderr
