import json
import re

import pytest
from langchain_core.messages import HumanMessage
from typer.testing import CliRunner

from langchain_moa import ChatMoA
from langchain_moa.cli.app import app
from langchain_moa.evals.running.leave_one_out import CachedReferences
from langchain_moa.evals.types import Answer, Question
from tests.openai_server import Reply
from tests.sample_evaluation import questions, usage

SYSTEM = f"moa={__name__}:mixture"


def mixture(**decoding):
    """The system under evaluation, as its user would write it."""
    return ChatMoA(proposers=["x/a", "x/b", "x/c"], aggregator="x/agg", include_references=True, **decoding)


def two_rounds():
    return ChatMoA(proposers=["x/a", "x/b"], aggregator="x/agg", include_references=True, rounds=2)


def call(proposer, text, *, model=None, seconds=1.0, status="ok"):
    told = {"proposer": proposer, "model": model or proposer, "status": status, "seconds": seconds}
    return told | {"usage": usage(10, 5), "error": None} | ({"text": text} if text else {})


def answer_of(*layers, question="0", **fields):
    metadata = ({"moa": {"layers": [list(layer) for layer in layers]}},)
    return Answer(question=question, system="moa", texts=("whole",), metadata=metadata, **fields)


def test_it_finds_what_a_proposer_said_to_a_conversation():
    answers = [answer_of([call("a", "A0"), call("b", "B0")]), answer_of([call("a", "A1"), call("b", "")], question="1")]
    cached = CachedReferences(questions(2), answers)
    assert cached.proposers == ["a", "b"]
    assert cached.find("a", [HumanMessage("Question 1?", id="any")]) == "A1"
    assert cached.find("b", [HumanMessage("Question 1?")]) is None


def test_the_calls_that_are_kept_are_counted_again():
    layer = [call("a", "A", seconds=9.0), call("b", "B", seconds=2.0), call("c", "C", model="agg", seconds=3.0)]
    cached = CachedReferences(questions(1), [answer_of(layer)])
    measured = Answer(question="0", system="x", texts=("new",), calls=1, seconds=1.5, usage={"agg": usage(100, 50)})
    complete = cached.complete(measured, without=["a"])
    assert complete.calls == 3
    assert complete.usage == {"agg": usage(110, 55), "b": usage(10, 5)}
    assert complete.seconds == 4.5


def test_of_several_layers_the_first_ones_stay_and_are_paid_for():
    first, last = [call("a", "A"), call("b", "B", seconds=2.0)], [call("a", "A2"), call("b", "B2", status="ok")]
    cached = CachedReferences(questions(1), [answer_of(first, last)])
    complete = cached.complete(Answer(question="0", system="x", calls=1, seconds=1.0), without=["b"])
    assert (cached.layers, complete.calls, complete.seconds) == (2, 4, 4.0)
    assert cached.find("b", [HumanMessage("Question 0?")]) == "B2"


def test_a_failed_answer_has_nothing_to_leave_out():
    failed = Answer(question="1", system="moa", error="boom")
    cached = CachedReferences(questions(2), [answer_of([call("a", "A"), call("b", "B")]), failed])
    assert [question.id for question in cached.questions] == ["0"]


def test_other_words_have_another_fingerprint():
    first, same, other = (
        CachedReferences(questions(1), [answer_of([call("a", text), call("b", "B")])]).fingerprint
        for text in ("A", "A", "another")
    )
    assert first == same != other


def test_answers_without_references_are_refused_with_a_remedy():
    for answer in (answer_of([call("a", ""), call("b", "")]), Answer(question="0", system="gpt", texts=("x",))):
        with pytest.raises(ValueError, match="include_references=True"):
            CachedReferences(questions(1), [answer])


def test_a_second_turn_is_refused():
    turn = (HumanMessage("Hi"),)
    with pytest.raises(ValueError, match="Question '0' has 2 turns"):
        CachedReferences([Question(id="0", turns=(turn, turn))], [answer_of([call("a", "A"), call("b", "B")])])


def test_two_questions_of_the_same_words_are_refused():
    layer = [call("a", "A"), call("b", "B")]
    same = [Question(id=name, turns=((HumanMessage("Hi"),),)) for name in "01"]
    with pytest.raises(ValueError, match="'0' and '1' have the same text"):
        CachedReferences(same, [answer_of(layer), answer_of(layer, question="1")])


def test_the_only_proposer_is_not_left_out():
    with pytest.raises(ValueError, match="needs at least two proposers in the last layer; there are 1"):
        CachedReferences(questions(1), [answer_of([call("a", "A")])])
    with pytest.raises(ValueError, match="there are 0"):
        CachedReferences(questions(1), [])


def script(body):
    """`x/a` alone knows that it is 42; the aggregator repeats what it is shown."""
    if body["model"] == "x/agg":
        shown = re.findall(r"^\d+\. (.*)$", body["messages"][0]["content"], re.MULTILINE)
        return Reply(text=f"They say: {' | '.join(shown)}")
    if body["model"] == "x/c" and "fails" in body["messages"][-1]["content"]:
        return Reply(status=400)
    return Reply(text="It is 42." if body["model"] == "x/a" else f"{body['model']} does not know.")


@pytest.fixture
def moa(tmp_path, together):
    """Return the server, and a function that runs `moa eval` on a small task of one's own."""
    task = tmp_path / "task.jsonl"
    lines = [{"id": str(i), "input": f"What is {i} + {42 - i}?", "reference": "42"} for i in range(8)]
    lines[4]["input"] += " (c fails)"
    task.write_text("".join(json.dumps(line) + "\n" for line in lines))
    server = together(script)
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({name: {"input": 1, "output": 1} for name in ("x/a", "x/b", "x/c", "x/agg")}))

    def run(command, *options, system=SYSTEM):
        arguments = ["eval", command, "--bench", str(task), "--system", system, "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, [*arguments, *options])

    run.folder, run.prices, run.server = tmp_path / "out", str(prices), server
    return run


def report_in(folder):
    (path,) = folder.glob("leave-one-out/*/*/report.json")
    return json.loads(path.read_text())


def test_leaving_out_the_proposer_that_knows_is_seen_in_the_score_and_the_cost(moa):
    assert moa("generate").exit_code == 0
    asked = len(moa.server.requests)
    result = moa("leave-one-out", "--grader", "contains", "--prices", moa.prices)
    assert result.exit_code == 0, result.output
    again = moa.server.requests[asked:]
    assert {request["model"] for request in again} == {"x/agg"}
    assert len(again) == 3 * 8

    report = report_in(moa.folder)
    rows = {row["system"]: row for row in report["systems"]}
    assert list(rows) == ["moa", "without-a", "without-b", "without-c"]
    assert report["baseline"] == "moa"
    assert rows["without-a"]["score"] == 0
    assert rows["without-b"]["score"] == rows["moa"]["score"] == rows["without-c"]["score"] > 0
    assert [verdict["outcome"] for verdict in report["verdicts"]] == ["worse", *["not distinguishable"] * 2]
    assert rows["moa"]["spending"]["calls"] == 4
    assert rows["without-a"]["spending"]["calls"] == 3
    # 18 tokens a call; on one question in eight `x/c` was no help before either.
    assert rows["moa"]["spending"]["usd_per_100"] == pytest.approx(100 * 18e-6 * 3.875)
    assert rows["without-a"]["spending"]["usd_per_100"] == pytest.approx(100 * 18e-6 * 2.875)
    assert rows["without-c"]["spending"]["usd_per_100"] == pytest.approx(100 * 18e-6 * 3)
    assert "without-a against moa: worse by" in result.output


def test_two_proposers_that_stand_in_for_each_other_are_seen_when_both_are_left_out(moa):
    moa("generate")
    result = moa("leave-one-out", "--grader", "contains", "--leave-out", "2")
    assert "1 answer failed" in result.stderr  # the one that `c` has no reference to
    rows = {row["system"]: row for row in report_in(moa.folder)["systems"]}
    pairs = ["without-a+b", "without-a+c", "without-b+c"]
    assert list(rows) == ["moa", "without-a", "without-b", "without-c", *pairs]
    assert [rows[pair]["score"] for pair in pairs] == [0, 0, rows["moa"]["score"]]
    assert [rows[pair]["spending"]["calls"] for pair in pairs] == [2, 2, 2]


def test_somebody_is_left(moa):
    moa("generate")
    result = moa("leave-one-out", "--grader", "contains", "--leave-out", "3")
    assert (result.exit_code, "Leaving out 3 of 3 proposers leaves nobody: give at most 2." in result.stderr) == (
        1,
        True,
    )


def test_the_others_are_shown_as_they_were(moa):
    moa("generate")
    asked = len(moa.server.requests)
    moa("leave-one-out", "--grader", "contains", "--concurrency", "1")
    seen = [request["messages"][0]["content"] for request in moa.server.requests[asked:]]
    assert seen[0].endswith("\n1. x/b does not know.\n2. x/c does not know.")
    assert seen[4].endswith("\n1. x/b does not know.")  # `x/c` failed at this question


def test_done_again_it_asks_nobody(moa):
    moa("generate")
    moa("leave-one-out", "--grader", "contains")
    asked = len(moa.server.requests)
    result = moa("leave-one-out", "--grader", "contains")
    assert (result.exit_code, len(moa.server.requests)) == (0, asked)


def test_without_answers_it_says_what_to_do_first(moa):
    result = moa("leave-one-out", "--grader", "contains")
    assert result.exit_code == 1
    assert "run `moa eval generate`" in result.output


def test_a_single_model_has_nobody_to_leave_out(moa):
    moa("generate", system="single=x/a")
    result = moa("leave-one-out", "--grader", "contains", system="single=x/a")
    assert result.exit_code == 1
    assert "has no references" in result.output


def test_that_earlier_layers_stay_is_told(moa):
    system = f"deep={__name__}:two_rounds"
    moa("generate", system=system)
    asked = len(moa.server.requests)
    result = moa("leave-one-out", "--grader", "contains", system=system)
    assert result.exit_code == 0, result.output
    assert len(moa.server.requests) == asked + 2 * 8
    report = report_in(moa.folder)
    assert any("2 layers" in warning for warning in report["warnings"])
    assert [row["spending"]["calls"] for row in report["systems"]] == [5, 4, 4]
