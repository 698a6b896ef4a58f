"""`moa eval run --langsmith`: the real client reads a dataset and writes experiments, over HTTP."""

import pytest
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from tests.fakes import ScriptedChatModel
from tests.langsmith_server import LangSmithServer

HERE = "tests.unit_tests.evals.test_langsmith"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A LangSmith that the environment names."""
    monkeypatch.chdir(tmp_path)
    with LangSmithServer() as server:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", server.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2-hush")
        monkeypatch.delenv("LANGSMITH_TRACING", raising=False)
        _forget_environment()
        yield server
    _forget_environment()
    assert server.errors == []


def _forget_environment():
    from langsmith.utils import get_env_var

    get_env_var.cache_clear()


def evaluate(*args):
    arguments = ["eval", "run", "--langsmith", "My sums", "--system", f"five={HERE}:five", *args]
    return CliRunner().invoke(app, arguments)


def test_a_datasets_examples_are_asked_and_the_results_are_an_experiment(server):
    first, second = server.add_dataset(
        "My sums", [({"question": "2 + 3?"}, {"answer": "5"}), ({"question": "2 + 2?"}, {"answer": "4"})]
    )
    result = evaluate("--grader", "exact")
    assert result.exit_code == 0, result.output
    (experiment,) = server.experiments
    assert experiment["reference_dataset_id"] == server.id_of("My sums")
    assert experiment["name"].startswith("five-")
    assert f"the experiment '{experiment['name']}' of 'My sums'" in result.output
    runs = {run["reference_example_id"]: run for run in server.roots()}
    assert set(runs) == {first, second}
    assert runs[first]["session_name"] == experiment["name"]
    assert runs[first]["inputs"] == {"messages": [{"role": "human", "content": "2 + 3?"}]}
    assert runs[first]["outputs"] == {"output": "5"}
    assert runs[first]["extra"]["metadata"]["calls"] == 1
    scores = {one["run_id"]: (one["key"], one["score"], one["session_id"]) for one in server.feedback}
    assert scores == {
        runs[first]["id"]: ("score", 1, experiment["id"]),
        runs[second]["id"]: ("score", 0, experiment["id"]),
    }


def test_the_second_time_only_the_experiment_is_new(server):
    server.add_dataset("My sums", [({"question": "2 + 3?"}, {"answer": "5"})])
    asked.clear()
    for _ in range(2):
        assert evaluate().exit_code == 0
    assert len(asked) == 1
    assert len({experiment["name"] for experiment in server.experiments}) == 2


def test_an_evaluator_in_openevals_form_gives_feedback_under_its_own_keys(server):
    server.add_dataset("My sums", [({"question": "2 + 3?"}, {"answer": "5"})])
    result = evaluate("--grader", f"{HERE}:correct_and_short")
    assert result.exit_code == 0, result.output
    found = {one["key"]: (one["score"], one["comment"]) for one in server.feedback}
    assert found == {"correctness": (1, "It is 5."), "brevity": (0.5, "It is 5.")}


def test_openevals_own_evaluators_grade_a_dataset(server):
    pytest.importorskip("openevals")
    server.add_dataset("My sums", [({"question": "2 + 3?"}, {"answer": "5"}), ({"question": "1?"}, {"answer": "1"})])
    result = evaluate("--grader", "openevals.exact:exact_match")
    assert result.exit_code == 0, result.output
    assert sorted((one["key"], one["score"]) for one in server.feedback) == [("exact_match", 0), ("exact_match", 1)]


def test_a_conversation_is_asked_as_it_is(server):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 3?"}]
    server.add_dataset("My sums", [({"messages": messages}, {"answer": "5"})])
    assert evaluate().exit_code == 0
    assert [message["role"] for message in server.roots()[0]["inputs"]["messages"]] == ["system", "human"]


def test_a_failed_answer_is_a_run_with_its_error(server):
    server.add_dataset("My sums", [({"question": "2 + 3?"}, {"answer": "5"})])
    arguments = ["eval", "run", "--langsmith", "My sums", "--system", f"bad={HERE}:bad"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    (run,) = server.roots()
    assert "no such key" in run["error"]


def test_more_examples_than_one_request_brings_are_read(server):
    server.add_dataset("My sums", [({"question": f"{i}?"}, {"answer": "5"}) for i in range(130)])
    assert evaluate("--limit", "120").exit_code == 0
    assert len(server.roots()) == 120


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (None, "'My sums' can't be read"),
        ([], "has no examples"),
        ([({"a": 1, "b": 2}, None)], "asks nothing: give it `messages`"),
    ],
)
def test_a_dataset_that_can_not_be_asked_is_an_error(server, examples, says):
    if examples is not None:
        server.add_dataset("My sums", examples)
    result = evaluate()
    assert result.exit_code != 0
    assert says in result.output
    assert server.experiments == []


def test_a_dry_run_writes_nothing(server):
    server.add_dataset("My sums", [({"question": "2 + 3?"}, {"answer": "5"})])
    assert evaluate("--dry-run").exit_code == 0
    assert (server.experiments, server.runs) == ([], {})


def test_nothing_to_ask_is_an_error(server):
    result = CliRunner().invoke(app, ["eval", "run", "--system", f"five={HERE}:five"])
    assert result.exit_code != 0
    assert "--bench, or a dataset with --langsmith" in result.output


asked = []


def five():
    """Return a model that says 5."""

    def reply(messages):
        asked.append(messages[-1].text)
        return "5"

    return ScriptedChatModel(reply=reply)


def bad():
    """Return a model that fails."""
    return ScriptedChatModel(error=ValueError("no such key"))


def correct_and_short(inputs, outputs, reference_outputs):
    """Grade as openevals' evaluators do."""
    assert inputs == "2 + 3?"
    return [
        {"key": "correctness", "score": outputs == reference_outputs, "comment": "It is 5."},
        {"key": "brevity", "score": 0.5},
    ]
