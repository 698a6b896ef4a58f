"""MT-Bench: its questions, its judge's prompts and ratings, its averages; against published ones where they are."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from langchain_moa.evals.benchmarks.mt_bench import MTBench, parse_rating
from langchain_moa.evals.datasets.fastchat import DATA
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.exceptions import DatasetError
from tests.evals_fixtures import fixture_path, needs_fixtures, read_jsonl
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.judging import judged

BENCH = MTBench()
QUESTIONS = {question.id: question for question in BENCH.questions}
PUBLISHED = "mt_bench/gpt-4_single_vicuna-7b-v1.3.jsonl.gz"


def answers(*ids, system="mixture"):
    return [Answer(question=name, system=system, texts=(f"first {name}", f"second {name}")) for name in ids]


def rating(question, part, score, **more):
    fields = {"prompt": "single-v1", "judge": "gpt-4"}
    return Judgment(question=question, system="mixture", part=part, score=score, fields=fields, reply="r", **more)


@pytest.mark.parametrize(
    ("name", "sha256"),
    [  # Computed from lm-sys/FastChat@0e6d3e4.
        ("question.jsonl", "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"),
        ("reference_answer_gpt-4.jsonl", "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"),
        ("judge_prompts.jsonl", "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"),
    ],
)
def test_the_shipped_files_are_fastchats_byte_for_byte(name, sha256):
    assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == sha256


def test_there_are_80_questions_of_two_turns_ten_in_each_category():
    assert [question.id for question in BENCH.questions] == [str(number) for number in range(81, 161)]
    assert {len(question.turns) for question in BENCH.questions} == {2}
    assert set(Counter(question.fields["category"] for question in BENCH.questions).values()) == {10}


def test_each_category_is_answered_at_its_own_temperature():
    temperatures = {question.fields["category"]: question.decoding["temperature"] for question in BENCH.questions}
    # Source: FastChat, llm_judge/common.py::temperature_config.
    assert temperatures == {
        "writing": 0.7,
        "roleplay": 0.7,
        "reasoning": 0,
        "math": 0,
        "coding": 0,
        "extraction": 0,
        "stem": 0.1,
        "humanities": 0.1,
    }
    assert {question.decoding["max_tokens"] for question in BENCH.questions} == {1024}


def test_questions_of_math_reasoning_and_coding_have_reference_answers():
    with_reference = {question.fields["category"] for question in BENCH.questions if question.fields["references"]}
    assert with_reference == {"math", "reasoning", "coding"}
    assert sum(question.fields["references"] is not None for question in BENCH.questions) == 30


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good. Rating: [[8]]", 8),
        ("Rating: [[8.5]]", 8.5),
        ("Rating: [[08]]", 8),
        ("[[3]] or rather [[9]]", 3),
        ("Rating: [7]", 7),
        ("see [1]; Rating: [[6]]", 6),
        ("Rating: 7", None),
        ("[[seven]]", None),
        ("", None),
    ],
)
def test_the_rating_is_the_first_one_in_double_brackets_or_else_in_single_ones(reply, score):
    assert parse_rating(reply) == score


def test_the_judge_is_asked_about_either_turn_at_temperature_0():
    judge = ScriptedChatModel(reply="Rating: [[7]]", model_name="gpt-4")
    judgments = judged(BENCH, answers("81"), judge=judge)
    assert [(j.part, j.score, j.fields) for j in judgments] == [
        ("turn_1", 7, {"prompt": "single-v1", "judge": "gpt-4"}),
        ("turn_2", 7, {"prompt": "single-v1-multi-turn", "judge": "gpt-4"}),
    ]
    assert [(kwargs["temperature"], kwargs["max_tokens"]) for kwargs in judge.kwargs] == [(0, 2048)] * 2
    first, second = judge.seen
    assert first[0].text == "You are a helpful assistant."
    assert "first 81" in first[1].text
    assert "second 81" not in first[1].text
    assert "### Assistant A:\nfirst 81" in second[1].text
    assert "### Assistant A:\nsecond 81" in second[1].text


def test_the_judge_of_a_math_question_sees_the_reference_answers_of_the_turns_so_far():
    judge = ScriptedChatModel(reply="[[7]]")
    judged(BENCH, answers("111"), judge=judge)
    first, second = (messages[1].text for messages in judge.seen)
    one, two = QUESTIONS["111"].fields["references"]
    assert one in first
    assert two not in first
    assert one in second
    assert two in second


def test_braces_in_an_answer_stay_as_they_are():
    answer = Answer(question="81", system="mixture", texts=("{question} {0}", "{answer_1}"))
    first, second = BENCH.judge(QUESTIONS["81"], answer)
    assert "[The Start of Assistant's Answer]\n{question} {0}\n" in first.messages[1].text
    assert "### Assistant A:\n{answer_1}\n" in second.messages[1].text


def test_nobody_is_asked_about_a_failed_answer():
    assert not BENCH.judge(QUESTIONS["81"], Answer(question="81", system="mixture", error="timeout"))


def test_a_failed_answer_that_counts_as_wrong_is_rated_1_in_both_turns():
    judgments = BENCH.unanswered(Answer(question="81", system="mixture", error="timeout"))
    metric = BENCH.metric([], [*judgments, rating("111", "turn_1", 9), rating("111", "turn_2", 9)])
    assert dict(metric.figures) == {"average": 5, "turn_1": 5, "turn_2": 5}
    assert metric.bounds == (1, 10)


def test_the_average_is_over_all_ratings_and_unscored_ones_are_left_out_and_counted():
    judgments = [rating("81", "turn_1", 9), rating("81", "turn_2", None), rating("111", "turn_1", 4)]
    metric = BENCH.metric(answers("81", "111"), [*judgments, rating("111", "turn_2", 2)])
    assert dict(metric.figures) == {"average": 5, "turn_1": 6.5, "turn_2": 2}
    assert metric.breakdowns == {"category": {"writing": 9, "math": 3}}
    assert "1 of 4 judgments have no score and are left out." in metric.warnings


def test_a_part_of_the_questions_is_scored_with_both_of_their_turns():
    ratings = {"81": (9, 7), "111": (4, 2), "160": (1, 3)}
    judgments = [rating(q, f"turn_{n}", score) for q, scores in ratings.items() for n, score in enumerate(scores, 1)]
    metric = BENCH.metric(answers(*ratings), judgments)
    assert metric.questions == ("81", "111", "160")
    assert metric.score() == metric.figures["average"] == pytest.approx(26 / 6)
    assert metric.score([0, 0, 1]) == pytest.approx((9 + 7 + 9 + 7 + 4 + 2) / 6)


def test_a_reader_is_warned_of_a_subset_another_judge_a_rating_above_10_and_saturation():
    warnings = BENCH.metric(answers("81"), [replace(rating("81", "turn_1", 11), fields={"judge": "other"})]).warnings
    assert warnings == [
        "Only 1 of the 80 questions count: not comparable with published figures.",
        "The judge is not gpt-4 or gpt-4-0613: the figures are not comparable with published ones.",
        "Rated above 10, and counted as it is: question 81.",
        "MT-Bench is saturated: the gaps between good systems are of the size of the run-to-run spread, about 0.1.",
    ]


def test_no_judgments_come_to_no_score():
    metric = BENCH.metric([], [])
    assert not metric.questions
    assert metric.score() != metric.score()  # nan


def test_exports_are_in_fastchats_format_and_read_back_the_same(tmp_path):
    said = answers("111", "81", system="org/mixture")
    judgments = judged(BENCH, said, judge=ScriptedChatModel(reply="Rating: [[7]]", model_name="gpt-4"))
    judgments[0] = replace(judgments[0], score=None, reply="no")
    files = BENCH.export([*said, Answer(question="82", system="org/mixture", error="timeout")], judgments)
    assert list(files) == ["model_answer/org_mixture.jsonl", "model_judgment/gpt-4_single.jsonl"]
    rows = [[json.loads(line) for line in text.splitlines()] for text in files.values()]
    assert rows[0][0] == {
        "question_id": 81,
        "answer_id": "org/mixture-81",
        "model_id": "org/mixture",
        "choices": [{"index": 0, "turns": ["first 81", "second 81"]}],
    }
    assert [(row["question_id"], row["turn"], row["score"]) for row in rows[1]] == [
        (81, 1, 7),
        (111, 1, -1),
        (81, 2, 7),
        (111, 2, 7),
    ]
    assert rows[1][0]["judge"] == ["gpt-4", "single-v1"]
    assert rows[1][0]["user_prompt"] == BENCH.judge(QUESTIONS["81"], said[1])[0].messages[1].text
    for number, text in enumerate(files.values()):
        (tmp_path / f"{number}.jsonl").write_text(text)
    by_id = {answer.question: answer for answer in said}
    assert BENCH.read_answers(tmp_path / "0.jsonl") == [by_id["81"], by_id["111"]]
    key = {(judgment.question, judgment.part): judgment for judgment in judgments}
    assert BENCH.read_judgments(tmp_path / "1.jsonl") == [
        key[question, part] for part in ("turn_1", "turn_2") for question in ("81", "111")
    ]


def test_what_fastchat_could_not_have_is_an_error_not_an_answer(tmp_path):
    path = tmp_path / "answers.jsonl"
    row = {"question_id": 81, "model_id": "m", "choices": [{"turns": ["fine", "$ERROR$"]}]}
    path.write_text(json.dumps(row))
    (answer,) = BENCH.read_answers(path)
    assert answer.error
    assert not answer.texts
    row = {"question_id": 81, "model": "m", "judge": ["gpt-4", "single-v1"], "judgment": "$ERROR$", "score": -1}
    path.write_text(json.dumps({**row, "turn": 1}))
    (judgment,) = BENCH.read_judgments(path)
    assert judgment.error
    assert judgment.score is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question_id": 1, "model_id": "m", "choices": [{"turns": ["a", "b"]}]}, "no question 1"),
        ({"question_id": 81, "model_id": "m", "choices": [{"turns": ["a"]}]}, "'81' has 1 answers"),
        ({"question_id": 81, "model_id": "m"}, "'choices': Field required"),
        ([], "Input should be an object"),
    ],
)
def test_a_malformed_answer_is_named_with_its_line(tmp_path, row, message):
    path = tmp_path / "answers.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n")
    with pytest.raises(DatasetError, match=re.escape(message)) as raised:
        BENCH.read_answers(path)
    assert (raised.value.path, raised.value.line) == (path, 2)


@needs_fixtures
def test_every_published_rating_is_read_as_published():
    rows = read_jsonl(PUBLISHED)
    assert len(rows) == 320
    assert [parse_rating(row["judgment"]) for row in rows] == [row["score"] for row in rows]


@needs_fixtures
@pytest.mark.parametrize(
    ("system", "figures"),
    [  # As FastChat's show_result.py prints them.
        ("vicuna-7b-v1.3", {"average": 6.103125, "turn_1": 6.73125, "turn_2": 5.475}),
        ("vicuna-7b-v1.3-greedy", {"average": 5.878125}),
    ],
)
def test_published_judgments_come_to_the_published_averages(system, figures):
    judgments = [j for j in BENCH.read_judgments(fixture_path(PUBLISHED)) if j.system == system]
    assert len(judgments) == 160
    metric = BENCH.metric([], judgments)
    assert {name: metric.figures[name] for name in figures} == pytest.approx(figures, abs=1e-12)
    assert list(metric.breakdowns["category"]) == list(dict.fromkeys(q.fields["category"] for q in BENCH.questions))
    assert not any("comparable" in warning for warning in metric.warnings)


@needs_fixtures
def test_every_published_prompt_is_rebuilt_character_for_character():
    rows = {(row["model"], row["question_id"], row["turn"]): row for row in read_jsonl(PUBLISHED)}
    rebuilt = 0
    for (system, question_id, turn), row in rows.items():
        if turn == 1:
            continue
        # The second turn's prompt holds both answers; the judged conversation is its last part.
        pieces = row["user_prompt"].rpartition("<|The Start of Assistant A's Conversation with User|>\n\n")[2]
        question = QUESTIONS[str(question_id)]
        first = re.escape(f"### User:\n{question.turns[0][0].text}\n\n### Assistant A:\n")
        second = re.escape(f"\n\n### User:\n{question.turns[1][0].text}\n\n### Assistant A:\n")
        end = re.escape("\n\n<|The End of Assistant A's Conversation with User|>")
        texts = re.fullmatch(f"{first}(.*){second}(.*){end}", pieces, re.DOTALL).groups()
        calls = BENCH.judge(question, Answer(question=question.id, system=system, texts=texts))
        for number, call in enumerate(calls, 1):
            published = rows[system, question_id, number]
            assert call.messages[1].text == published["user_prompt"]
            assert call.read(ScriptedChatModel().invoke("?"))[1]["prompt"] == published["judge"][1]
            rebuilt += 1
    assert rebuilt == 320


@needs_fixtures
def test_published_answers_of_another_study_can_be_read():
    read = BENCH.read_answers(fixture_path("mt_bench/medusa_model_answer_vicuna-7b-v1.3-1.jsonl.gz"))
    assert len(read) == 80
    assert all(len(answer.texts) == 2 for answer in read)
