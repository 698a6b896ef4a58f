import json

import pytest

from langchain_moa.evals.results.current import current_judgments
from langchain_moa.evals.results.store import Store
from langchain_moa.evals.running.judge_answers import judge_answers
from langchain_moa.evals.systems import System
from langchain_moa.evals.types import Answer, Judgment
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.quiz import Quiz, question

ANSWERS = [Answer(question=f"q{n}", system="a", texts=(f"answer {n}",)) for n in (1, 2, 3)]
USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, benchmark="quiz", system="a")


def judge(reply="8", **options):
    return System.of("strict", ScriptedChatModel(reply=reply, **options))


def lines(store, judge="strict"):
    return [json.loads(line) for line in (store.path / f"judgments-{judge}.jsonl").read_text().splitlines()]


async def test_the_judge_is_asked_with_the_benchmarks_arguments_and_its_reply_is_read(store):
    strict = judge(usage=USAGE)
    judgments = await judge_answers(Quiz(), ANSWERS[:1], store, judge=strict)
    assert judgments == [
        Judgment(
            question="q1",
            system="a",
            part="turn_1",
            score=8.0,
            fields={"read": True},
            reply="8",
            usage={"scripted": USAGE},
        )
    ]
    assert strict.model({}).kwargs == [{"temperature": 0, "max_tokens": 9}]
    assert strict.model({}).seen[0][0].text == "Rate q1 turn 1: answer 1"


async def test_an_unreadable_reply_is_no_error_and_is_not_asked_for_again(store):
    lost = judge("I can't say")
    await judge_answers(Quiz(), ANSWERS, store, judge=lost)
    judgments = await judge_answers(Quiz(), ANSWERS, store, judge=lost)
    assert {(judgment.score, judgment.reply, judgment.error) for judgment in judgments} == {(None, "I can't say", None)}
    assert len(lost.model({}).seen) == 3


async def test_a_failed_call_is_recorded_and_alone_made_again(store):
    broken = ["q2 turn 1"]

    def reply(messages):
        if broken and broken[0] in messages[0].text:
            raise RuntimeError("busy")
        return "7"

    quiz, strict = Quiz(questions=[question("q1", "One?", "More?"), question("q2", "Two?", "More?")]), judge(reply)
    answers = [Answer(question=id, system="a", texts=("x", "y")) for id in ("q1", "q2")]
    judgments = await judge_answers(quiz, answers, store, judge=strict)
    assert [judgment.error for judgment in judgments] == [None, None, "RuntimeError: busy", None]
    broken.clear()
    judgments = await judge_answers(quiz, answers, store, judge=strict)
    assert [judgment.score for judgment in judgments] == [7, 7, 7, 7]
    assert len(strict.model({}).seen) == 5
    assert [(line["question"], line["part"]) for line in lines(store)] == [
        ("q1", "turn_1"),
        ("q1", "turn_2"),
        ("q2", "turn_1"),
        ("q2", "turn_2"),
    ]


async def test_verdicts_that_need_no_judge_are_kept_and_not_made_again(store):
    quiz = Quiz(verdict=lambda answer: float(answer.texts[0][-1]))
    judgments = await judge_answers(quiz, ANSWERS, store)
    assert [judgment.score for judgment in judgments] == [1, 2, 3]
    assert await judge_answers(quiz, ANSWERS, store) == judgments
    assert sorted(quiz.judged) == ["q1", "q2", "q3"]
    assert len(lines(store, "none")) == 3


async def test_a_changed_grader_grades_anew(store):
    await judge_answers(Quiz(verdict=lambda answer: 0.0), ANSWERS, store)
    judgments = await judge_answers(Quiz(verdict=lambda answer: 1.0, fingerprint="2"), ANSWERS, store)
    assert [judgment.score for judgment in judgments] == [1, 1, 1]


async def test_a_grader_that_fails_is_recorded_and_asked_again(store):
    grades = iter([ZeroDivisionError("division"), 5.0])

    def verdict(answer):
        grade = next(grades)
        if isinstance(grade, Exception):
            raise grade
        return grade

    quiz = Quiz(verdict=verdict)
    (failed,) = await judge_answers(quiz, ANSWERS[:1], store)
    assert (failed.score, failed.error) == (None, "ZeroDivisionError: division")
    (graded,) = await judge_answers(quiz, ANSWERS[:1], store)
    assert (graded.score, graded.error) == (5, None)
    assert len(lines(store, "none")) == 1


async def test_a_benchmark_that_needs_a_judge_says_so(store):
    with pytest.raises(ValueError, match="needs a judge: pass one with --judge"):
        await judge_answers(Quiz(), ANSWERS, store)


async def test_failed_answers_are_passed_over(store):
    failed = Answer(question="q1", system="a", error="busy")
    judgments = await judge_answers(Quiz(), [failed, *ANSWERS[1:]], store, judge=judge())
    assert [judgment.question for judgment in judgments] == ["q2", "q3"]


async def test_a_new_answer_is_judged_anew_and_the_old_judgment_counts_no_more(store):
    strict = judge()
    await judge_answers(Quiz(), ANSWERS, store, judge=strict)
    answers = [Answer(question="q1", system="a", texts=("another",)), *ANSWERS[1:]]
    assert [judgment.question for judgment in current_judgments(answers, store, "strict")] == ["q2", "q3"]
    await judge_answers(Quiz(), answers, store, judge=strict)
    assert len(strict.model({}).seen) == 4
    assert [judgment.question for judgment in current_judgments(answers, store, "strict")] == ["q1", "q2", "q3"]


async def test_judgments_of_another_judge_or_prompt_are_not_taken_for_these(store):
    await judge_answers(Quiz(), ANSWERS, store, judge=judge())
    other = System(name="strict", fingerprint="2", build=lambda _: ScriptedChatModel(reply="1"), spec="openai:other")
    with pytest.raises(ValueError, match=r"another judge \(spec 'ScriptedChatModel' -> 'openai:other'"):
        await judge_answers(Quiz(), ANSWERS, store, judge=other)
    with pytest.raises(ValueError, match=r"question 'q1' with another prompt, baseline or judge mode.*--overwrite"):
        await judge_answers(Quiz(prompt="Grade"), ANSWERS, store, judge=judge())
    judgments = await judge_answers(Quiz(), ANSWERS, store, judge=other, overwrite=True)
    assert {judgment.score for judgment in judgments} == {1}


async def test_judgments_of_questions_outside_a_sample_stay(store):
    strict = judge()
    await judge_answers(Quiz(), ANSWERS, store, judge=strict)
    assert len(await judge_answers(Quiz(), ANSWERS[1:2], store, judge=strict)) == 1
    assert [line["question"] for line in lines(store)] == ["q1", "q2", "q3"]


async def test_judges_are_told_apart_by_their_names(store):
    await judge_answers(Quiz(), ANSWERS, store, judge=judge())
    await judge_answers(Quiz(), ANSWERS, store, judge=System.of("mild", ScriptedChatModel(reply="10")))
    assert store.judges() == ["mild", "strict"]
    assert {judgment.score for judgment in store.judgments("mild")} == {10}
