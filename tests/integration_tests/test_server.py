"""`moa serve` as a process of its own, asked by the SDKs that its users have."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import httpx
import openai
import pytest
import together
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from langchain_moa._models.transport import http_clients
from tests.local_model import needs_local_model
from tests.openai_server import OpenAIServer, Reply
from tests.standard_model import ScriptedModelTests, answer

MOA = str(Path(sys.executable).with_name("moa"))
MIXTURE = ["--reference-models", "x/a,x/b", "--aggregator", "x/c"]
QUESTION = [{"role": "user", "content": "Say something short."}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Joke(BaseModel):
    setup: str
    punchline: str


class Served(NamedTuple):
    """A running `moa serve`."""

    url: str
    """Without `/v1`, as Together's SDK wants it."""
    process: subprocess.Popen[str]
    log: SimpleQueue[str]
    """Its lines, and an empty one at the end."""

    def openai(self, sdk: type[Any] = openai.OpenAI, **options: Any) -> Any:
        return sdk(base_url=f"{self.url}/v1", **{"api_key": "any", "max_retries": 0, **options})

    def together(self, sdk: type[Any] = together.Together) -> Any:
        return sdk(base_url=self.url, api_key="any", max_retries=0)

    def end(self) -> list[dict[str, Any]]:
        """Have it end, and return its log."""
        self.process.terminate()
        return [json.loads(line) for line in iter(partial(self.log.get, timeout=60), "")]


@contextmanager
def serving(*options: str, upstream: OpenAIServer | None = None, **environment: str) -> Iterator[Served]:
    base = {name: value for name, value in os.environ.items() if name != "TOGETHER_API_KEY"}
    if upstream:
        base |= {"TOGETHER_API_BASE": upstream.url, "TOGETHER_API_KEY": "test"}
    command = [MOA, "serve", "--port", "0", *options]
    with subprocess.Popen(command, env=base | environment, stderr=subprocess.PIPE, text=True) as process:
        # Read all the time: a pipe that is full would hold up the server.
        log: SimpleQueue[str] = SimpleQueue()
        reader = threading.Thread(target=_read, args=(process.stderr, log))
        reader.start()
        try:
            said = []
            while not said or not said[-1].startswith("moa serves "):
                said.append(log.get(timeout=60))
                assert said[-1], said
            yield Served(said[-1].split()[2].removesuffix("/v1"), process, log)
        finally:
            process.kill()
            reader.join()


def _read(lines: Iterable[str], log: SimpleQueue[str]) -> None:
    for line in lines:
        log.put(line)
    log.put("")


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    with ExitStack() as running:
        yield lambda *options, **rest: running.enter_context(serving(*options, **rest))


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as running:
        yield running


@pytest.fixture(scope="module")
def served(upstream: OpenAIServer) -> Iterator[Served]:
    with serving(*MIXTURE, upstream=upstream) as running:
        yield running


@pytest.mark.parametrize("sdk", ["openai", "together"])
def test_an_official_sdk_asks_and_streams(served, sdk):
    with getattr(served, sdk)() as client:
        whole = client.chat.completions.create(model="moa-1", messages=QUESTION, temperature=0.2, max_tokens=50)
        assert whole.choices[0].message.content == "You said: Say something short."
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage.total_tokens == 3 * 18
        assert [call["status"] for call in whole.moa["layers"][0]] == ["ok", "ok"]
        chunks = list(client.chat.completions.create(model="moa-1", messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert any(chunk.choices[0].delta.content for chunk in chunks[:-1])
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("sdk", ["openai", "together"])
async def test_an_official_sdk_asks_and_streams_asynchronously(served, sdk):
    cls = {"openai": openai.AsyncOpenAI, "together": together.AsyncTogether}[sdk]
    async with getattr(served, sdk)(cls) as client:
        whole = await client.chat.completions.create(model="moa-1", messages=QUESTION)
        stream = await client.chat.completions.create(model="moa-1", messages=QUESTION, stream=True)
        streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(streamed) == whole.choices[0].message.content == "You said: Say something short."


@pytest.mark.parametrize("sdk", ["openai", "together"])
def test_an_official_sdk_gets_tool_calls_whole_and_in_parts(served, sdk):
    with getattr(served, sdk)() as client:
        whole = client.chat.completions.create(model="moa-1", messages=QUESTION, tools=[TOOL], tool_choice="auto")
        chunks = list(client.chat.completions.create(model="moa-1", messages=QUESTION, tools=[TOOL], stream=True))
        call = whole.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "a value"})
        result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
        conversation = [*QUESTION, whole.choices[0].message.model_dump(), result]
        after = client.chat.completions.create(model="moa-1", messages=conversation, tools=[TOOL])
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    assert json.loads("".join(part.function.arguments for part in parts)) == {"city": "a value"}
    # Its last message is the proposers' advice: with tools it comes after the result.
    assert after.choices[0].message.content.startswith("You said: ")


def test_openais_sdk_parses_structured_output_and_tool_calls(served):
    strict = openai.pydantic_function_tool(Joke)
    with served.openai() as client:
        parsed = client.chat.completions.parse(model="moa-1", messages=QUESTION, response_format=Joke)
        assert parsed.choices[0].message.parsed == Joke(setup="a value", punchline="a value")
        called = client.chat.completions.parse(model="moa-1", messages=QUESTION, tools=[strict])
        assert isinstance(called.choices[0].message.tool_calls[0].function.parsed_arguments, Joke)
        with client.chat.completions.stream(model="moa-1", messages=QUESTION, response_format=Joke) as stream:
            assert stream.get_final_completion().choices[0].message.parsed.setup == "a value"


async def test_openais_sdk_parses_structured_output_asynchronously(served):
    async with served.openai(openai.AsyncOpenAI) as client:
        parsed = await client.chat.completions.parse(model="moa-1", messages=QUESTION, response_format=Joke)
        assert parsed.choices[0].message.parsed == Joke(setup="a value", punchline="a value")
        async with client.chat.completions.stream(model="moa-1", messages=QUESTION, tools=[TOOL]) as stream:
            final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


def test_togethers_sdk_gets_structured_output(served):
    wanted = {"type": "json_schema", "json_schema": {"name": "joke", "schema": Joke.model_json_schema()}}
    with served.together() as client:
        whole = client.chat.completions.create(model="moa-1", messages=QUESTION, response_format=wanted)
    assert Joke.model_validate_json(whole.choices[0].message.content).punchline == "a value"


def test_errors_are_the_sdks_own(served):
    with served.openai() as client:
        with pytest.raises(openai.NotFoundError, match="Model 'gpt-9' is unknown"):
            client.chat.completions.create(model="gpt-9", messages=QUESTION)
        with pytest.raises(openai.BadRequestError, match="n is 2") as refused:
            client.chat.completions.create(model="moa-1", messages=QUESTION, n=2)
        assert refused.value.param == "n"
        with pytest.raises(openai.BadRequestError, match="unless it is started with --allow-overrides"):
            client.chat.completions.create(model="moa-1", messages=QUESTION, extra_body={"rounds": 2})


def test_the_models_are_the_lineups_and_the_default(served):
    with served.openai() as client:
        names = [model.id for model in client.models.list()]
        assert client.models.retrieve("togethercomputer/MoA-1").id == "togethercomputer/MoA-1"
    assert names[0] == "moa-1"
    assert {"cookbook", "local"} <= {*names}


def test_the_cookbooks_last_cell_runs_with_only_the_url_changed(serve):
    run = json.loads((Path(__file__).parents[1] / "data" / "cookbook_replay.json").read_text())

    def replay(body: dict[str, Any]) -> Reply:
        if body["messages"][0]["role"] == "system":
            return Reply(text=run["aggregator"]["text"])
        return Reply(text=next(p["text"] for p in run["proposals"] if p["model"] == body["model"]))

    with OpenAIServer(replay) as upstream:
        served = serve("--model", "cookbook", upstream=upstream)
        with together.Together(base_url=served.url, api_key="any") as client:
            completion = client.chat.completions.create(
                model="togethercomputer/MoA-1",
                messages=[{"role": "user", "content": run["prompt"]}],
            )
    assert run["expected_answer"] in completion.choices[0].message.content.splitlines()[-1]
    assert len(completion.moa["layers"][0]) == 4


def test_a_request_may_change_the_mixture_where_that_is_allowed(serve, upstream):
    with serve(*MIXTURE, "--allow-overrides", upstream=upstream).openai() as client:
        completion = client.chat.completions.create(
            model="moa-1", messages=QUESTION, extra_body={"rounds": 2, "proposers": ["x/d"], "timeout": 30}
        )
    assert [[call["model"] for call in layer] for layer in completion.moa["layers"]] == [["x/d"], ["x/d"]]


def test_an_sdk_that_leaves_a_stream_ends_the_call_upstream(serve):
    replies = {"x/a": "A.", "x/b": "B.", "x/c": Reply(text="begun but", gate=threading.Event())}
    with OpenAIServer(replies) as upstream:
        client = serve(*MIXTURE, upstream=upstream).openai()
        with client.chat.completions.create(model="moa-1", messages=QUESTION, stream=True) as stream:
            assert next(iter(stream)).choices[0].delta.content == "begun"
        upstream.wait_for(lambda: upstream.closed_by_client == ["x/c"])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=lambda stop: stop.name)
def test_a_signal_lets_running_answers_finish(serve, stop):
    gate = threading.Event()
    replies = {"x/a": "A.", "x/b": "B.", "x/c": Reply(text="begun and ended", gate=gate)}
    with OpenAIServer(replies) as upstream:
        served = serve(*MIXTURE, upstream=upstream)
        stream = iter(served.openai().chat.completions.create(model="moa-1", messages=QUESTION, stream=True))
        heard = next(stream).choices[0].delta.content
        served.process.send_signal(stop)
        log = []
        while not log or log[-1]["event"] != "Shutting down":
            log.append(json.loads(served.log.get(timeout=60)))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/healthz", trust_env=False)
        gate.set()
        heard += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        served.process.wait(60)
    assert heard == "begun and ended"
    assert served.process.returncode == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 130}[stop]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_takes_too_long_is_told_so_at_shutdown(serve, stream):
    replies = {"x/a": "A.", "x/b": "B.", "x/c": Reply(text="begun but", gate=threading.Event())}
    with OpenAIServer(replies) as upstream, ThreadPoolExecutor(1) as pool:
        served = serve(*MIXTURE, "--shutdown-timeout", "1", upstream=upstream)
        create = served.openai().chat.completions.create
        if stream:
            chunks = iter(create(model="moa-1", messages=QUESTION, stream=True))
            assert next(chunks).choices[0].delta.content == "begun"
            asked = pool.submit(next, chunks)
        else:
            asked = pool.submit(create, model="moa-1", messages=QUESTION)
            upstream.wait_for(lambda: len(upstream.requests) == 3)
        log = served.end()
        with pytest.raises(openai.APIError, match="The server is shutting down") as told:
            asked.result()
        upstream.wait_for(lambda: upstream.closed_by_client == ["x/c"])
    assert told.value.code == "shutting_down"
    assert [line["error"] for line in log if line["event"] == "request"] == ["shutting_down"]


def test_the_log_is_json_without_what_was_said(serve, upstream):
    served = serve(*MIXTURE, upstream=upstream, MOA_API_KEY="secret")
    with served.openai(api_key="secret") as client:
        client.chat.completions.create(model="moa-1", messages=[{"role": "user", "content": "a secret"}])
    with pytest.raises(openai.AuthenticationError):
        served.openai(api_key="wrong").models.list()
    log = served.end()
    requests = [line for line in log if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 401]
    assert "secret" not in json.dumps(log)


def test_a_port_that_is_taken_is_an_error(upstream):
    environment = os.environ | {"TOGETHER_API_BASE": upstream.url, "TOGETHER_API_KEY": "test"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [MOA, "serve", *MIXTURE, "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert re.fullmatch(
        r"moa: Can't listen on '127.0.0.1', port \d+: Address already in use; choose .*\n", ended.stderr
    )


def test_without_a_key_only_loopbacks_own_names_are_served(served):
    """A web page elsewhere can have its name resolve to 127.0.0.1, and then ask as if from there."""
    assert httpx.get(f"{served.url}/healthz", headers={"host": "evil.example"}, trust_env=False).status_code == 400
    assert httpx.get(f"{served.url}/healthz", headers={"host": "localhost:1"}, trust_env=False).status_code == 200


def test_headers_of_any_size_are_not_kept(served):
    with suppress(httpx.NetworkError):  # it may hang up while it is still being sent to
        large = httpx.get(f"{served.url}/healthz", headers={"x-large": "x" * 1_000_000}, trust_env=False)
        assert large.status_code == 400
    assert httpx.get(f"{served.url}/healthz", trust_env=False).status_code == 200


def test_with_a_key_it_listens_anywhere(serve, upstream):
    served = serve(*MIXTURE, "--host", "0.0.0.0", upstream=upstream, MOA_API_KEY="right")
    url = served.url.replace("0.0.0.0", "127.0.0.1")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="right") as client:
        assert client.models.list().data[0].id == "moa-1"
    assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401


# Both are ChatOpenAI's own, whoever answers it.
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
class TestChatOpenAI(ScriptedModelTests):
    """LangChain's tests of what a chat model must do, through `ChatOpenAI` and `moa serve`."""

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
        return {"model": "moa-1", "stream_usage": True, **http_clients()}

    @property
    def supports_audio_inputs(self) -> bool:
        """The server takes text, pictures and files."""
        return False


@pytest.fixture(scope="module")
def local() -> Iterator[Served]:
    with serving("--max-tokens", "24") as running:
        yield running


@needs_local_model
class TestOnLlamaCpp:
    """A real model, which is what `moa-1` is without a key."""

    def test_openais_sdk_asks_streams_and_parses(self, local):
        capital = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
        with local.openai() as client:
            whole = client.chat.completions.create(model="moa-1", messages=capital, temperature=0)
            assert "Paris" in whole.choices[0].message.content
            assert whole.usage.completion_tokens > 4
            chunks = list(client.chat.completions.create(model="moa-1", messages=capital, stream=True, seed=1))
            assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 2
            schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
            # Room for the blanks that the grammar allows.
            formed = client.chat.completions.create(
                model="moa-1", messages=capital, response_format=wanted, temperature=0, max_tokens=120
            )
            assert isinstance(json.loads(formed.choices[0].message.content)["yes"], bool)

    def test_togethers_sdk_asks_and_streams(self, local):
        with local.together() as client:
            whole = client.chat.completions.create(model="togethercomputer/MoA-1", messages=QUESTION)
            assert whole.choices[0].message.content
            stream = client.chat.completions.create(model="local", messages=QUESTION, stream=True, max_tokens=8)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    def test_tools_are_refused_by_name(self, local):
        with local.openai() as client, pytest.raises(openai.BadRequestError, match="can't call tools"):
            client.chat.completions.create(model="moa-1", messages=QUESTION, tools=[TOOL])
