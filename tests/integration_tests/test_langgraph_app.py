"""The example for the Agent Server, served by `langgraph dev` as it stands and called as its clients call it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import openai
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from langchain_moa.lineups import LINEUPS
from tests.local_model import needs_local_model
from tests.openai_server import OpenAIServer, Reply

EXAMPLE = Path(__file__).parents[2] / "examples" / "langgraph_app"
CLI = Path(sys.executable).with_name("langgraph")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CLI.exists(), reason="langgraph-cli is not installed"),
]

QWEN, GEMMA, LLAMA = "Qwen/Qwen3.7-Max", "google/gemma-4-31B-it", "meta-llama/Llama-3.3-70B-Instruct-Turbo"
WRITER, SPARE = "the aggregator", "its fallback"
KEY = "key-of-the-route"


# -- The servers -------------------------------------------------------------------------------------------------------


def role(body: dict[str, Any]) -> str:
    """Tell who is asked: the aggregator's fallback is one of the proposers' models."""
    if body["model"] == LINEUPS["default"].aggregator:
        return WRITER
    return SPARE if "Responses from models:" in str(body["messages"]) else body["model"]


class Upstream(OpenAIServer):
    """The models: each says its name, unless a test wants something else of it once."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.next: dict[str, Reply] = {}

    def _reply(self, body: dict[str, Any]) -> Reply | str:
        who = role(body)
        question = body["messages"][-1]["content"].partition("\n\n")[0]
        return self.next.pop(who, f"{who} on {question}")

    def asked(self) -> Counter[str]:
        return Counter(map(role, self.requests))

    def asked_of_the_writer(self) -> str:
        """Return what its last request says, the references included."""
        messages = next(body for body in reversed(self.requests) if role(body) == WRITER)["messages"]
        return "\n".join(message["content"] for message in messages)


@contextmanager
def agent_server(directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """Serve a directory as the example's README says, and stop as Ctrl-C does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", directory / "log.txt"
    command = [str(CLI), "dev", "--no-browser", "--no-reload", "--port", str(port), "--n-jobs-per-worker", "10"]
    environment = {**os.environ, "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false", **environment}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
    try:
        ends = monotonic() + 240
        while not answers(f"{url}/ok"):
            assert process.poll() is None and monotonic() < ends, log.read_text()
            sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:
            return response.status == 200
    except (HTTPError, URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def models() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture
def upstream(models: Upstream) -> Upstream:
    models.reset()
    models.next.clear()
    return models


def keys(models: OpenAIServer) -> dict[str, str]:
    return {"TOGETHER_API_BASE": models.url, "TOGETHER_API_KEY": "test-key", "MOA_API_KEY": KEY}


@pytest.fixture(scope="module")
def url(models: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("server") / "app"
    shutil.copytree(EXAMPLE, directory)
    with agent_server(directory, keys(models)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=url) as sdk:
        yield sdk


@pytest.fixture
def thread(client: SyncLangGraphClient) -> str:
    return client.threads.create()["thread_id"]


@pytest.fixture
def route(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        yield sdk


def ask(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]}


def texts(state: Any) -> list[str]:
    return [message["content"] for message in state["messages"]]


# -- The Agent Server's API --------------------------------------------------------------------------------------------


def test_a_thread_keeps_its_turns_and_their_history(client, thread, upstream):
    for question in ("First?", "Second?"):
        state = client.runs.wait(thread, "moa", input=ask(question))
    assert texts(state) == ["First?", f"{WRITER} on First?", "Second?", f"{WRITER} on Second?"]
    assert texts(client.threads.get_state(thread)["values"]) == texts(state)
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA, WRITER], 2)
    references = [f"{number}. {model} on Second?" for number, model in enumerate([QWEN, GEMMA, LLAMA], 1)]
    assert upstream.asked_of_the_writer().split("models:\n")[1].split("\n") == references
    history = client.threads.get_history(thread, limit=20)
    assert {len(snapshot["values"]["messages"]) for snapshot in history if snapshot["values"]} >= {1, 2, 3, 4}


def test_a_run_streams_its_tokens_its_progress_and_what_each_node_wrote(client, thread, upstream):
    modes = ["messages-tuple", "updates", "custom"]
    parts = list(client.runs.stream(thread, "moa", input=ask("Hi"), stream_mode=modes))
    tokens = [part.data for part in parts if part.event == "messages"]
    answer = [message["content"] for message, about in tokens if about["langgraph_node"] == "aggregator"]
    assert "".join(answer) == "the aggregator on Hi"
    nodes = [node for part in parts if part.event == "updates" for node in part.data]
    assert sorted(nodes[:3]) == [f"layer_1_proposer_{place:02d}" for place in (1, 2, 3)]
    assert nodes[3:] == ["aggregator"]
    progress = [part.data["event"] for part in parts if part.event == "custom"]
    assert Counter(progress) == {
        "moa_proposer_start": 3,
        "moa_proposer_end": 3,
        "moa_layer_end": 1,
        "moa_aggregator_start": 1,
    }


def test_a_failed_run_is_resumed_without_asking_a_proposer_again(client, thread, upstream):
    upstream.next = dict.fromkeys([WRITER, SPARE], Reply(status=400, error="not now"))
    with pytest.raises(Exception, match="OpenAIInvalidRequestError"):
        client.runs.wait(thread, "moa", input=ask("Hi"))
    assert client.threads.get(thread)["status"] == "error"
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA, WRITER, SPARE], 1)
    state = client.runs.wait(thread, "moa", input=None)
    assert texts(state) == ["Hi", f"{WRITER} on Hi"]
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA, SPARE], 1) | {WRITER: 2}
    assert client.threads.get(thread)["status"] == "idle"


def test_a_run_that_was_canceled_within_a_layer_is_resumed_with_who_has_not_answered(client, thread, upstream):
    upstream.next[GEMMA] = Reply(text="too late", gate=threading.Event())
    written: set[str] = set()
    run = ""
    for part in client.runs.stream(thread, "moa", input=ask("Hi"), stream_mode="updates"):
        run = part.data.get("run_id", run)
        written |= part.data.keys() & {"layer_1_proposer_01", "layer_1_proposer_03"}
        if len(written) == 2:
            break
    client.runs.cancel(thread, run, wait=True, action="interrupt")
    upstream.wait_for(lambda: upstream.closed_by_client == [GEMMA])
    state = client.runs.wait(thread, "moa", input=None)
    assert texts(state) == ["Hi", f"{WRITER} on Hi"]
    assert upstream.asked() == {QWEN: 1, GEMMA: 2, LLAMA: 1, WRITER: 1}
    assert f"2. {GEMMA} on Hi" in upstream.asked_of_the_writer()


def test_the_references_can_be_looked_at_before_the_aggregator_is_asked(client, thread, upstream):
    client.runs.wait(thread, "moa", input=ask("Hi"), interrupt_before=["aggregator"])
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA], 1)
    references = client.threads.get_state(thread)["values"]["references"]
    assert [reference["content"] for reference in references] == [f"{model} on Hi" for model in (QWEN, GEMMA, LLAMA)]
    assert texts(client.runs.wait(thread, "moa", input=None)) == ["Hi", f"{WRITER} on Hi"]
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA, WRITER], 1)


def test_the_graph_is_drawn_with_its_proposers(client):
    (assistant,) = client.assistants.search(graph_id="moa")
    graph = client.assistants.get_graph(assistant["assistant_id"])
    assert "layer_1_proposer_03" in {node["id"] for node in graph["nodes"]}
    assert client.assistants.get_schemas(assistant["assistant_id"])["input_schema"]["properties"].keys() == {"messages"}


# -- The OpenAI route in the same server -------------------------------------------------------------------------------


def test_the_openai_route_answers_and_streams(route, upstream):
    question: Any = {"model": "moa-1", "messages": [{"role": "user", "content": "Hi"}]}
    assert route.chat.completions.create(**question).choices[0].message.content == f"{WRITER} on Hi"
    chunks = [chunk for chunk in route.chat.completions.create(**question, stream=True) if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"{WRITER} on Hi"
    assert upstream.asked() == dict.fromkeys([QWEN, GEMMA, LLAMA, WRITER], 2)
    assert "moa-1" in [model.id for model in route.models.list()]


def test_the_openai_route_wants_its_key_and_says_what_is_wrong(route, upstream):
    question: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(openai.AuthenticationError):
        route.with_options(api_key="another").chat.completions.create(model="moa-1", **question)
    with pytest.raises(openai.NotFoundError, match="'nobody' is unknown"):
        route.chat.completions.create(model="nobody", **question)
    assert upstream.requests == []


def test_a_client_of_the_openai_route_that_leaves_cancels_what_is_behind_it(route, upstream):
    upstream.next = {model: Reply(gate=threading.Event()) for model in (QWEN, GEMMA, LLAMA)}
    impatient = route.with_options(timeout=1)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model="moa-1", messages=[{"role": "user", "content": "Hi"}])
    upstream.wait_for(lambda: sorted(upstream.closed_by_client) == sorted([QWEN, GEMMA, LLAMA]))
    assert upstream.asked()[WRITER] == 0


@pytest.mark.parametrize("page", ["/", "/ok", "/info", "/docs", "/openapi.json", "/metrics"])
def test_the_servers_own_pages_are_not_hidden_by_the_route(url, page):
    with urlopen(url + page, timeout=60) as response:
        body = response.read().decode()
    assert response.status == 200
    assert not any(sign in body for sign in ("Mixture", "moa_requests"))


# -- What its README shows ---------------------------------------------------------------------------------------------

SNIPPETS = re.findall(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)


def test_the_readme_shows_both_apis():
    assert ["langgraph_sdk" in snippet for snippet in SNIPPETS] == [True, False]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["sdk", "openai"])
def test_a_snippet_of_its_readme_runs(url, upstream, snippet, monkeypatch, capsys):
    monkeypatch.setenv("MOA_API_KEY", KEY)
    assert "http://127.0.0.1:2024" in snippet
    exec(snippet.replace("http://127.0.0.1:2024", url), {"__name__": "__main__"})
    assert capsys.readouterr().out.endswith(f"{WRITER} on What is a monad?\n")
    assert upstream.asked().keys() == {QWEN, GEMMA, LLAMA, WRITER}
    assert upstream.errors == []


# -- As it stands ------------------------------------------------------------------------------------------------------


def run_cli(*arguments: str) -> str:
    done = subprocess.run([str(CLI), *arguments], cwd=EXAMPLE, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_line_finds_nothing_wrong_with_it():
    assert "is valid. (1 graph found)" in run_cli("validate")


def test_an_image_for_production_can_be_described_without_docker(tmp_path):
    run_cli("dockerfile", str(tmp_path / "Dockerfile"))
    dockerfile = (tmp_path / "Dockerfile").read_text()
    assert dockerfile.startswith("FROM langchain/langgraph-api:")
    assert "requirements.txt" in dockerfile
    assert "/graph.py:graph" in dockerfile
    assert "/webapp.py:app" in dockerfile


@needs_local_model
def test_without_a_key_it_serves_the_local_model(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "app")
    question = "What is the capital of France?"
    with agent_server(tmp_path / "app", {}) as url:
        with get_sync_client(url=url) as client:
            state: Any = client.runs.wait(None, "moa", input=ask(question))
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none is wanted") as route:
            answer = route.chat.completions.create(model="moa-1", messages=ask(question)["messages"])
    assert "Paris" in texts(state)[-1]
    assert "Paris" in (answer.choices[0].message.content or "")


def test_threads_outlive_the_development_server(models, upstream, tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "app")
    with agent_server(tmp_path / "app", keys(models)) as url, get_sync_client(url=url) as client:
        thread = client.threads.create()["thread_id"]
        client.runs.wait(thread, "moa", input=ask("First?"))
    with agent_server(tmp_path / "app", keys(models)) as url, get_sync_client(url=url) as client:
        state = client.runs.wait(thread, "moa", input=ask("Second?"))
    assert texts(state) == ["First?", f"{WRITER} on First?", "Second?", f"{WRITER} on Second?"]
