"""Questions asked several times: the answers, the scores, and what they say about errors."""

import json

import pytest
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from langchain_moa.evals.benchmarks.repeats import with_repeats
from langchain_moa.evals.benchmarks.sampling import sample
from langchain_moa.evals.benchmarks.task import Task
from langchain_moa.evals.types import Answer
from tests.fakes import ScriptedChatModel


@pytest.fixture
def task(tmp_path):
    """Four questions, whose answer is their id."""
    path = tmp_path / "task.jsonl"
    path.write_text("".join(f'{{"id": {i}, "input": "{i}?", "reference": {i}}}\n' for i in range(4)))
    return path


def metric_of(bench, said):
    """Return the metric of these answers, given as text by id."""
    answers = [Answer(question=name, system="s", texts=(text,)) for name, text in said.items()]
    by_id = {question.id: question for question in bench.questions}
    judgments = [judgment for answer in answers for judgment in bench.judge(by_id[answer.question], answer)]
    return bench.metric(answers, judgments)


def test_each_question_is_there_as_often_as_it_is_asked_with_the_same_words(task):
    bench = with_repeats(Task(task), 3)
    assert [question.id for question in bench.questions[:4]] == ["0", "0@2", "0@3", "1"]
    assert {question.turns[0][0].text for question in bench.questions[:3]} == {"0?"}


def test_a_score_is_the_mean_over_the_repeats_and_counts_each_question_once(task):
    metric = metric_of(with_repeats(Task(task), 2), {"0": "0", "0@2": "9", "1": "1", "1@2": "1"})
    assert metric.score() == 75
    assert metric.questions == ("0", "1")
    assert [metric.score([position]) for position in (0, 1)] == [50, 100]
    assert metric.figures["accuracy"] == 75


def test_repeats_that_agree_do_not_pass_for_more_questions(task):
    said = {"0": "0", "1": "no", "2": "2", "3": "no"}
    repeated = {f"{name}{repeat}": text for name, text in said.items() for repeat in ("", "@2", "@3")}
    once, thrice = metric_of(Task(task), said), metric_of(with_repeats(Task(task), 3), repeated)
    samples = ([0, 0, 1, 2], [0, 1, 2], [3, 3, 3, 1])
    assert [once.score(sample) for sample in samples] == [thrice.score(sample) for sample in samples]


def test_a_repeat_that_failed_leaves_the_others(task):
    metric = metric_of(with_repeats(Task(task), 2), {"0@2": "0", "1": "no", "1@2": "1"})
    assert [metric.score([position]) for position in (0, 1)] == [100, 50]


def test_a_failed_repeat_counts_as_wrong_for_its_question(task):
    bench = with_repeats(Task(task), 2)
    right = Answer(question="0", system="s", texts=("0",))
    failed = Answer(question="0@2", system="s", error="timeout")
    judgments = [*bench.judge(bench.questions[0], right), *bench.unanswered(failed)]
    metric = bench.metric([right, failed], judgments)
    assert (metric.score(), metric.bounds) == (50, (0, 100))


def test_a_sample_has_questions_with_all_their_repeats(task):
    bench = Task(task)
    few = sample(bench.questions, 2, seed=1)
    repeated = sample(with_repeats(bench, 3).questions, 2, seed=1)
    assert [question.repeat_of or question.id for question in repeated] == [one.id for one in few for _ in range(3)]


def test_an_id_that_a_repeat_would_have_is_an_error(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_text('{"id": "a", "input": "x", "reference": 1}\n{"id": "a@2", "input": "y", "reference": 1}\n')
    with pytest.raises(ValueError, match="Question 'a@2' has the id of a repeat"):
        with_repeats(Task(path), 2)


def test_the_command_asks_only_for_the_repeats_that_are_missing(task, tmp_path):
    model.asked.clear()
    arguments = ["eval", "run", "--bench", str(task), "--out", str(tmp_path / "out")]
    arguments += ["--system", "one=tests.unit_tests.evals.test_repeats:model"]
    for repeats, calls in ((1, 4), (3, 12)):
        result = CliRunner().invoke(app, [*arguments, "--repeats", str(repeats)])
        assert result.exit_code == 0, result.output
        assert len(model.asked) == calls
    report = json.loads((tmp_path / "out" / "task" / "report.json").read_text())
    row = report["systems"][0]
    assert (row["score"], row["answers"], row["scored"]) == (25, 12, 4)


def test_repeats_with_a_pairwise_judge_are_refused(task, tmp_path):
    arguments = ["--bench", str(task), "--system", "one=tests.unit_tests.evals.test_repeats:model", "--repeats", "2"]
    result = CliRunner().invoke(app, ["eval", "run", *arguments, "--grader", "pairwise", "--judge", "local:x"])
    assert result.exit_code != 0
    assert "--repeats can't be combined with --grader pairwise" in result.output


def model():
    """Return a model that always says 1."""
    return ScriptedChatModel(reply=said)


def said(messages):
    model.asked.append(messages[-1].text)
    return "1"


model.asked = []
