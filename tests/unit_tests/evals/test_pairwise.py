"""Pairwise judging of an own task: the judge is asked in both orders."""

import json
import math

import pytest

from langchain_moa.evals.benchmarks.task import Task
from langchain_moa.evals.graders.pairwise import Pairwise, parse_verdict
from langchain_moa.evals.types import Answer
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.judging import judged

IDS = ("1", "2", "3", "4")


def answers(system, *texts):
    return [Answer(question=question, system=system, texts=(text,)) for question, text in zip(IDS, texts, strict=False)]


@pytest.fixture
def task(tmp_path):
    """Make a task that compares with a baseline's texts: `task("a", "b")`."""

    def make(*texts, row=None):
        path = tmp_path / "task.jsonl"
        rows = [{"id": question, "input": f"Question {question}?", **(row or {})} for question in IDS]
        path.write_text("\n".join(map(json.dumps, rows)))
        return Task(path, grader=Pairwise(answers("base", *texts)))

    return make


def likes(word):
    """Reply as a judge who likes the answer with this word; with the first one if both or none have it."""

    def reply(messages):
        _, first, second = messages[1].text.split("[The Start of Assistant ")
        return "It depends. [[B]]" if word in second and word not in first else "Clearly [[A]]"

    return reply


def test_a_verdict_is_read_in_the_order_in_which_fastchat_looks_for_it():
    assert [parse_verdict(reply) for reply in ("So: [[C]]", "[[B]] over [[A]]", "[[C]], or [[B]]", "[A]", "")] == [
        "C",
        "A",
        "B",
        None,
        None,
    ]


def test_the_judge_sees_both_answers_in_either_order(task):
    judge = ScriptedChatModel(reply="[[A]]", model_name="gpt-4")
    judgments = judged(task("old answer"), answers("mixture", "new answer"), judge=judge)
    assert [(one.part, one.score, one.fields) for one in judgments] == [
        ("baseline_first", 0, {"verdict": "A", "prompt": "pair-v2", "judge": "gpt-4"}),
        ("system_first", 1, {"verdict": "A", "prompt": "pair-v2", "judge": "gpt-4"}),
    ]
    assert judge.kwargs == [{"temperature": 0, "max_tokens": 2048}] * 2
    baseline_first, system_first = (messages[1].text for messages in judge.seen)
    assert baseline_first == (
        "[User Question]\nQuestion 1?\n\n"
        "[The Start of Assistant A's Answer]\nold answer\n[The End of Assistant A's Answer]\n\n"
        "[The Start of Assistant B's Answer]\nnew answer\n[The End of Assistant B's Answer]"
    )
    assert system_first.index("new answer") < system_first.index("old answer")


def test_the_judge_sees_the_reference_if_there_is_one(task):
    judge = ScriptedChatModel(reply="[[C]]")
    own = task("old", row={"reference": ["7", "seven"]})
    assert [one.score for one in judged(own, answers("mixture", "new"), judge=judge)] == [0.5, 0.5]
    assert '[The Start of Reference Answer]\n["7", "seven"]\n' in judge.seen[0][1].text


def test_the_judge_sees_the_whole_conversation_if_it_is_one(tmp_path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    (tmp_path / "task.jsonl").write_text(json.dumps({"id": 1, "messages": messages}))
    own = Task(tmp_path / "task.jsonl", grader=Pairwise(answers("base", "old")))
    judge = ScriptedChatModel(reply="[[C]]")
    judged(own, answers("mixture", "new"), judge=judge)
    assert judge.seen[0][1].text.startswith("[User Question]\nSystem: Be brief.\nHuman: Why?\n\n")


def test_a_failed_answer_that_counts_as_wrong_loses_in_both_orders_where_the_baseline_answered(task):
    own = task("one", "two")
    failed = [Answer(question=question, system="mixture", error="timeout") for question in IDS]
    judgments = [judgment for answer in failed for judgment in own.unanswered(answer)]
    metric = own.metric(failed, judgments)
    assert (metric.score(), metric.figures["losses"], metric.questions) == (0, 2, IDS[:2])


def test_a_verdict_that_changes_with_the_order_is_a_tie_and_is_reported(task):
    own = task("plain", "good", "plain", "same")
    said = answers("mixture", "good!", "plain", "other", "same")
    metric = own.metric(said, judged(own, said, likes("good")))
    assert metric.figures == {
        "win rate": 50,
        "wins": 1,
        "ties": 2,
        "losses": 1,
        "consistency": 75,
        "mean length": 4.75,
        "baseline's mean length": 4.5,
    }
    assert metric.warnings == ["On 1 of 4 questions the judge's verdict changed with the order: they count as ties."]
    assert metric.questions == IDS
    assert metric.score([0, 0, 1, 2]) == 62.5


def test_a_win_in_one_order_and_a_tie_in_the_other_is_a_tie(task):
    own = task("old")
    said = answers("mixture", "new")
    first_new = ScriptedChatModel(
        reply=lambda m: "[[A]]" if m[1].text.index("new") < m[1].text.index("old") else "[[C]]"
    )
    metric = own.metric(said, judged(own, said, judge=first_new))
    assert (metric.figures["win rate"], metric.figures["consistency"]) == (50, 0)


def test_equal_answers_are_a_tie_without_asking(task):
    judge = ScriptedChatModel(reply="[[A]]")
    assert [one.score for one in judged(task("same"), answers("mixture", "same"), judge=judge)] == [0.5, 0.5]
    assert not judge.seen


def test_a_question_with_a_verdict_in_one_order_only_does_not_count(task):
    own = task("old", "old")
    said = answers("mixture", "new", "new")
    judgments = judged(own, said, lambda messages: "[[A]]" if "1?" in messages[1].text else "I can't say")
    metric = own.metric(said, judgments[:3])
    assert metric.questions == ("1",)
    assert "1 of 3 judgments have no score and are left out." in metric.warnings


def test_an_answer_that_the_baseline_has_none_to_compare_with_is_left_out_and_counted(task):
    own = task("old")
    said = answers("mixture", "new", "new")
    metric = own.metric(said, judged(own, said, likes("new")))
    assert (metric.questions, metric.figures["win rate"]) == (("1",), 100)
    assert "Answers without one of the baseline 'base' to compare with: 1." in metric.warnings


def test_nothing_judged_comes_to_no_win_rate(task):
    assert math.isnan(task("old").metric([], []).score())


@pytest.mark.parametrize(
    "baseline",
    [
        [],
        [Answer(question="1", system="base", error="timeout")],
        answers("base", "x") + answers("other", "x"),
    ],
)
def test_the_baseline_must_be_the_answers_of_one_system(baseline):
    with pytest.raises(ValueError, match="The baseline must be the answers of one system"):
        Pairwise(baseline)


def test_the_fingerprint_is_of_the_baselines_answers_too(task):
    assert task("one").fingerprint == task("one").fingerprint != task("other").fingerprint
