"""A graph whose process is killed goes on in another one, from a real database, and asks no finished proposer again."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from langchain_moa import create_moa_graph
from tests.openai_server import OpenAIServer, Reply
from tests.postgres import find_postgres, postgres_server

pytestmark = pytest.mark.timeout(300)

THREAD: Any = {"configurable": {"thread_id": "1"}}
LAYERS = [["lab/a", "lab/b", "lab/bad"], ["lab/c", "lab/d"]]
WRITER = "lab/writer"
MODELS = [*LAYERS[0], *LAYERS[1], WRITER]
Q1, Q2 = {"messages": "First?"}, {"messages": "Second?"}

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])

# Has the libraries loaded once, and each of its processes in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["langchain_together", "langchain_moa.graph", "langgraph.checkpoint.postgres.aio"])


# -- The application ---------------------------------------------------------------------------------------------------


def plain(**options: Any) -> StateGraph[Any, Any, Any, Any]:
    # Where every turn has them, so that what was asked can be told from its last message.
    return create_moa_graph(layers=LAYERS, aggregator=WRITER, reference_placement="system", **options)


def as_a_node() -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(MessagesState).add_node("moa", plain().compile()).add_edge(START, "moa")


def with_a_rule_and_a_vote() -> StateGraph[Any, Any, Any, Any]:
    return plain(fan_out=lambda messages: True, aggregation="vote")


Build = Callable[[], StateGraph[Any, Any, Any, Any]]


def work(build: Build, database: str, upstream: str, input: Any, asynchronous: bool, options: dict[str, Any]) -> None:
    """Ask once, or go on where the database ends: all that a process does before it ends or is killed."""
    os.environ |= {"TOGETHER_API_BASE": upstream, "TOGETHER_API_KEY": "test-key", "LANGSMITH_TRACING": "false"}
    graph = build()

    async def awork() -> None:
        savers: Any = AsyncPostgresSaver if is_postgres(database) else AsyncSqliteSaver
        async with savers.from_conn_string(database) as saver:
            await graph.compile(checkpointer=saver).ainvoke(input, THREAD, **options)

    if asynchronous:
        return asyncio.run(awork())
    with opened(database) as saver:
        graph.compile(checkpointer=saver).invoke(input, THREAD, **options)


def wait_until(predicate: Callable[[], bool], seconds: float = 100) -> None:
    """Wait for what a database holds; it tells nobody that something was written."""
    ends = monotonic() + seconds
    while not predicate():
        assert monotonic() < ends, f"not within {seconds} seconds"
        sleep(0.01)


def is_postgres(database: str) -> bool:
    return database.startswith("postgresql:")


def opened(database: str) -> AbstractContextManager[Any]:
    savers: Any = PostgresSaver if is_postgres(database) else SqliteSaver
    return savers.from_conn_string(database)


# -- Its surroundings --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server(programs) as address:
        with PostgresSaver.from_conn_string(address) as saver:
            saver.setup()
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty database's file or address."""
    if request.param == "sqlite":
        return str(tmp_path / "threads.sqlite")
    address: str = request.getfixturevalue("postgres")
    with PostgresSaver.from_conn_string(address) as saver:
        saver.delete_thread("1")
    return address


@dataclass
class Upstream:
    """The models' server: each waits while its gate is closed."""

    server: OpenAIServer
    gates: dict[str, threading.Event]

    def asked(self) -> Counter[str]:
        return Counter(body["model"] for body in self.server.requests)

    def references(self, model: str) -> list[list[str]]:
        """Return the references that each request to a model had."""
        prompts = [body["messages"][0]["content"] for body in self.server.requests if body["model"] == model]
        return [prompt.partition("models:\n")[2].split("\n") for prompt in prompts]

    @contextmanager
    def closed(self, *models: str) -> Iterator[None]:
        for model in models:
            self.gates[model].clear()
        yield
        for model in models:
            self.gates[model].set()


@pytest.fixture
def upstream(together: Callable[..., OpenAIServer]) -> Upstream:
    gates = {model: threading.Event() for model in MODELS}
    for gate in gates.values():
        gate.set()

    def answer(body: dict[str, Any]) -> Reply:
        if body["model"] == "lab/bad":
            return Reply(status=400, error="never any good")
        question = body["messages"][-1]["content"].split("\n")[-1]
        return Reply(text=f"{body['model']} on {question}", gate=gates[body["model"]])

    return Upstream(together(answer), gates)


class Application:
    """Processes that know of each other through the database alone."""

    def __init__(self, database: str, upstream: Upstream) -> None:
        self.database, self.upstream = database, upstream
        self.asynchronous = False
        self.build: Build = plain

    def run(self, input: Any) -> None:
        """Ask in a new process until it ends."""
        process = self._start(input, {})
        process.join()
        assert process.exitcode == 0

    def run_and_kill(self, input: Any, *, when: Callable[[], bool], **options: Any) -> None:
        """Ask in a new process, and kill it as soon as something is true."""
        process = self._start(input, options)
        try:
            wait_until(when)
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL

    def run_and_kill_at(self, point: Point, input: Any) -> None:
        """Ask in a new process, and kill it once all but a few nodes are done and these have asked their models."""
        before = self.upstream.asked()

        def is_there() -> bool:
            asked = self.upstream.asked() - before
            return all(asked[model] for model in point.waiting) and set(self.to_do()) == point.nodes

        with self.upstream.closed(*point.waiting):
            self.run_and_kill(input, when=is_there)

    def state(self) -> StateSnapshot:
        """Read the state of the mixture's graph, as an operator may at any time."""
        with opened(self.database) as saver:
            self._graph.checkpointer = saver
            snapshot = self._graph.get_state(THREAD, subgraphs=True)
        inner = [task.state for task in snapshot.tasks if isinstance(task.state, StateSnapshot)]
        return inner[0] if inner else snapshot

    def to_do(self) -> tuple[str, ...]:
        return self.state().next

    def messages(self) -> list[str]:
        return [message.text for message in self.state().values["messages"]]

    @cached_property
    def _graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        return self.build().compile()

    def _start(self, input: Any, options: dict[str, Any]) -> Any:
        arguments = (self.build, self.database, self.upstream.server.url, input, self.asynchronous, options)
        process = processes.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process


@pytest.fixture
def application(database: str, upstream: Upstream) -> Application:
    return Application(database, upstream)


# -- Killed and resumed ------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """Where a process is killed."""

    waiting: list[str]
    """The models that have been asked, and will not answer."""

    nodes: set[str]
    """The nodes that are not done."""


MIDDLE_OF_LAYER_1 = Point(["lab/b"], {"layer_1_proposer_02"})
BETWEEN_THE_LAYERS = Point(["lab/c", "lab/d"], {"layer_2_proposer_01", "layer_2_proposer_02"})
AFTER_THE_PROPOSERS = Point([WRITER], {"aggregator"})

points = pytest.mark.parametrize(
    "point",
    [MIDDLE_OF_LAYER_1, BETWEEN_THE_LAYERS, AFTER_THE_PROPOSERS],
    ids=["in the middle of layer 1", "between the layers", "after the proposers"],
)


def check_resumed(application: Application, point: Point) -> None:
    """Check the answer to `Q1`, who was asked for it, and with which references."""
    upstream = application.upstream
    assert upstream.asked() == dict.fromkeys(MODELS, 1) | dict.fromkeys(point.waiting, 2)
    assert upstream.references("lab/c")[-1] == ["1. lab/a on First?", "2. lab/b on First?"]
    assert upstream.references(WRITER)[-1] == ["1. lab/c on First?", "2. lab/d on First?"]
    state = application.state()
    assert state.next == ()
    assert application.messages() == ["First?", "lab/writer on First?"]
    layers = state.values["messages"][-1].response_metadata["moa"]["layers"]
    assert [[call["status"] for call in layer] for layer in layers] == [["ok", "ok", "failed"], ["ok", "ok"]]
    assert "never any good" in layers[0][2]["error"]


@both
@points
def test_a_killed_run_is_resumed_and_no_finished_proposer_is_asked_again(application, asynchronous, point):
    application.asynchronous = asynchronous
    application.run_and_kill_at(point, Q1)
    application.run(None)
    check_resumed(application, point)


@pytest.mark.parametrize("build", [as_a_node, with_a_rule_and_a_vote])
def test_a_killed_run_of_another_graph_is_resumed_too(application, build):
    application.build = build
    application.run_and_kill_at(BETWEEN_THE_LAYERS, Q1)
    application.run(None)
    check_resumed(application, BETWEEN_THE_LAYERS)


def test_a_run_is_killed_at_every_step_and_still_asks_no_finished_proposer_again(application):
    application.run_and_kill_at(MIDDLE_OF_LAYER_1, Q1)
    application.run_and_kill_at(BETWEEN_THE_LAYERS, None)
    application.run_and_kill_at(AFTER_THE_PROPOSERS, None)
    application.run(None)
    check_resumed(application, Point(["lab/b", "lab/c", "lab/d", WRITER], set()))


# -- What the durability mode is worth ---------------------------------------------------------------------------------


def test_with_durability_sync_a_layer_is_in_the_database_before_the_next_is_asked(application):
    upstream = application.upstream
    with upstream.closed("lab/c", "lab/d"):
        application.run_and_kill(Q1, when=lambda: upstream.asked()["lab/c"] == 1, durability="sync")
    assert set(application.to_do()) == BETWEEN_THE_LAYERS.nodes


def test_with_durability_exit_a_killed_run_leaves_nothing(application):
    upstream = application.upstream
    with upstream.closed(WRITER):
        application.run_and_kill(Q1, when=lambda: upstream.asked()[WRITER] == 1, durability="exit")
    assert application.state().values == {}


# -- The example -------------------------------------------------------------------------------------------------------


def saved(file: Path) -> int:
    """Return how many proposers of the step that is running have their answers in the database."""
    with SqliteSaver.from_conn_string(str(file)) as saver:
        found = saver.get_tuple(THREAD)
    return len({task for task, channel, _ in found.pending_writes or [] if channel == "calls"}) if found else 0


def test_the_example_goes_on_where_it_was_killed(together, tmp_path):
    example = Path(__file__).parents[2] / "examples" / "durable.py"
    gate = threading.Event()
    server = together(lambda body: Reply(text="9.9", gate=gate if "gemma" in body["model"] else None))
    command = [sys.executable, str(example)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: saved(tmp_path / "durable.sqlite") == 2 and len(server.requests) == 3)
        finally:
            process.kill()
        assert process.stdout is not None
        assert process.stdout.readline() == "Goes on with a new question\n"
    gate.set()
    again = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert again[0] == "Goes on with layer_1_proposer_02"
    assert set(again[1:3]) == {"layer_1_proposer_01 had answered", "layer_1_proposer_03 had answered"}
    assert again[3:] == ["layer_1_proposer_02 has answered", "aggregator has answered", "9.9"]
    assert len(server.requests) == 5


# -- Several turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [MIDDLE_OF_LAYER_1, AFTER_THE_PROPOSERS], ids=["in layer 1", "after the proposers"])
def test_a_turn_that_was_killed_and_resumed_has_nothing_of_the_turn_before(application, point):
    upstream = application.upstream
    application.run(Q1)
    application.run_and_kill_at(point, Q2)
    application.run(None)
    assert upstream.asked() == dict.fromkeys(MODELS, 2) | dict.fromkeys(point.waiting, 3)
    assert upstream.references("lab/c")[-1] == ["1. lab/a on Second?", "2. lab/b on Second?"]
    assert upstream.references(WRITER)[-1] == ["1. lab/c on Second?", "2. lab/d on Second?"]
    state = application.state()
    assert state.next == ()
    assert application.messages() == ["First?", "lab/writer on First?", "Second?", "lab/writer on Second?"]
    assert not state.values.keys() & {"references", "failures"}


@pytest.mark.parametrize("point", [MIDDLE_OF_LAYER_1, AFTER_THE_PROPOSERS], ids=["in layer 1", "after the proposers"])
def test_a_new_question_after_a_crash_leaves_the_unfinished_turn_behind(application, point):
    upstream = application.upstream
    application.run_and_kill_at(point, Q1)
    before = upstream.asked()
    application.run(Q2)
    assert upstream.asked() - before == dict.fromkeys(MODELS, 1)
    assert upstream.references("lab/c")[-1] == ["1. lab/a on Second?", "2. lab/b on Second?"]
    assert upstream.references(WRITER)[-1] == ["1. lab/c on Second?", "2. lab/d on Second?"]
    assert application.messages() == ["First?", "Second?", "lab/writer on Second?"]
    assert application.to_do() == ()


def test_the_last_message_sent_again_asks_everyone_anew(application):
    upstream = application.upstream
    application.run_and_kill_at(AFTER_THE_PROPOSERS, Q1)
    application.run({"messages": application.state().values["messages"][-1]})
    assert upstream.asked() == dict.fromkeys(MODELS, 2)
    assert application.messages() == ["First?", "lab/writer on First?"]
