"""FLASK: its judge's prompts, scores and means; against published ones where they are."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from langchain_moa.evals.benchmarks.flask import FLASK
from langchain_moa.evals.benchmarks.flask_scores import mean_score, parse_scores, scores_by_skill
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.exceptions import DatasetError
from tests.evals_fixtures import FIXTURES, fixture_path, needs_fixtures, read_csv, read_json, read_jsonl
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.judging import judged


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LANGCHAIN_MOA_EVAL_DATA", str(FIXTURES))
        yield FLASK()


def answers(*ids):
    return [Answer(question=name, system="mixture", texts=(f"output {name}",)) for name in ids]


def judgment(question, scores, **more):
    fields = {"scores": scores, "judge": "gpt-4-0613"}
    return Judgment(question=question, system="mixture", score=mean_score(scores), fields=fields, **more)


def test_the_scores_are_those_of_the_last_dictionary():
    assert parse_scores("{'a': 1} then\n{'Logical_Robustness': 4,\n 'Factuality': 'n/a'}.") == {
        "logical robustness": 4,
        "factuality": "N/A",
    }


@pytest.mark.parametrize(
    "review",
    [
        "",
        "no dictionary",
        "{}",
        "{4, 5}",
        "{'Completeness': N/A}",
        "{'a': {'b': 3}}",
        "{'a': b'3', 1: 4}",
        "{" + "(" * 10_000 + "}",
    ],
)
def test_a_review_without_a_readable_dictionary_has_no_scores(review):
    assert parse_scores(review) == {}
    assert mean_score(parse_scores(review)) is None


def test_an_underscore_that_markdown_escaped_does_no_harm():
    assert scores_by_skill(parse_scores(r"{'logical\_correctness': 4}")) == [("correctness", 4)]


def test_scores_that_are_no_numbers_and_skills_that_are_none_do_not_count():
    scores = {"readability": 5, "completeness": "N/A", "logical efficiency": "3", "charm": 1, "logical": 2}
    assert scores_by_skill({**scores, "factuality": "nan", "conciseness": 10**400}) == [
        ("readability", 5),
        ("efficiency", 3),
    ]
    assert mean_score(scores) == 4


@needs_fixtures
def test_there_are_1740_questions_with_the_skills_that_they_need(bench):
    assert len(bench.questions) == 1740
    skills = Counter(skill for question in bench.questions for skill in question.fields["skill"])
    assert (skills["Comprehension"], skills["Harmlessness"]) == (1168, 145)
    assert bench.questions[0].decoding == {"temperature": 0.7, "max_tokens": 2048}


@needs_fixtures
def test_every_golden_prompt_is_rebuilt(bench):
    golden = {row["idx"]: row["sha256"] for row in read_csv("flask/golden_judge_prompts_chatgpt_even.csv")}
    outputs = {str(row["question_id"]): row["text"] for row in read_jsonl("flask/model_output_chatgpt.jsonl.gz")}
    questions = {question.id: question for question in bench.questions}
    assert len(golden) == 850
    for idx, sha256 in golden.items():
        # Outputs go to the judge as they are; only `read_answers` strips them.
        (call,) = bench.judge(questions[idx], Answer(question=idx, system="chatgpt", texts=(outputs[idx],)))
        system, user = (message.text for message in call.messages)
        assert hashlib.sha256(f"{system}\n\n{user}".encode()).hexdigest() == sha256


@needs_fixtures
def test_every_golden_review_is_parsed_as_by_the_original():
    cases = read_json("flask/golden_parse_cases.json")
    assert [parse_scores(case["review"]) for case in cases] == [case["scores"] for case in cases]


@needs_fixtures
def test_golden_scores_come_to_the_means_that_the_original_prints(bench):
    read = bench.read_judgments(fixture_path("flask/golden_scores_input.jsonl"))
    expected = read_csv("flask/golden_scores_expected_skill.csv")
    metric = bench.metric([], read)
    assert "It is not known who judged: the figures may not be comparable with published ones." in metric.warnings
    means = {row["skill"]: float(row["avg"]) for row in expected}
    assert list(metric.breakdowns["skill"]) == list(means)
    assert metric.breakdowns["skill"] == pytest.approx(means, abs=1e-12)
    counts = Counter(skill for one in read for skill, _ in scores_by_skill(one.fields["scores"]))
    assert counts == {row["skill"]: int(row["count"]) for row in expected}
    assert metric.figures["average"] == pytest.approx(sum(means.values()) / 12)


@needs_fixtures
def test_the_judge_is_asked_at_temperature_0_unless_told_to_leave_it(bench, monkeypatch):
    monkeypatch.setenv("LANGCHAIN_MOA_EVAL_DATA", str(FIXTURES))
    reply = "Fine.\n{'Readability': 4, 'Logical Correctness': 'N/A', 'Conciseness': 3}"
    judge = ScriptedChatModel(reply=reply, model_name="gpt-4-0613")
    (judgment,) = judged(bench, answers("1"), judge=judge)
    judged(FLASK(temperature=None), answers("1"), judge=judge)
    assert judgment.score == 3.5
    assert judgment.fields == {
        "scores": {"readability": 4, "logical correctness": "N/A", "conciseness": 3},
        "judge": "gpt-4-0613",
    }
    assert judge.kwargs == [{"temperature": 0}, {}]


@needs_fixtures
def test_the_temperature_is_part_of_what_a_judgment_means(bench, monkeypatch):
    monkeypatch.setenv("LANGCHAIN_MOA_EVAL_DATA", str(FIXTURES))
    assert FLASK().fingerprint == bench.fingerprint != FLASK(temperature=None).fingerprint


@needs_fixtures
def test_the_average_is_over_the_skills_and_the_breakdowns_over_the_scores(bench):
    # 1: Humanities, formal education; 259: Math.
    judgments = [judgment("1", {"readability": 5, "conciseness": 1}), judgment("259", {"readability": 4})]
    metric = bench.metric(answers("1", "259"), judgments)
    assert metric.figures == {"average": 2.75}
    assert metric.breakdowns["skill"] == {"readability": 4.5, "conciseness": 1}
    assert metric.breakdowns["domain"] == {"Humanities": 3, "Math": 4}
    assert metric.breakdowns["difficulty"]["formal education knowledge"] == 3
    assert metric.questions == ("1", "259")
    assert metric.score([1, 1]) == 4
    assert metric.score([0, 1, 1]) == pytest.approx(((5 + 4 + 4) / 3 + 1) / 2)


@needs_fixtures
def test_a_reader_is_warned_of_what_the_figures_leave_out(bench):
    lost = replace(judgment("2", {}), reply="no dictionary")
    warnings = bench.metric(answers("1", "2"), [judgment("1", {"readability": 7}), lost]).warnings
    assert warnings[0] == "Only 1 of the 1740 questions count: not comparable with published figures."
    assert warnings[1] == "1 of 2 judgments have no score and are left out."
    assert warnings[2].startswith("No scores for robustness, correctness,")
    assert warnings[3] == "Scored outside 1-5, and counted as it is: question 1."
    assert "publishes no overall score" in warnings[4]


@needs_fixtures
def test_exports_are_in_flasks_format_and_read_back_the_same(bench, tmp_path):
    said = answers("2", "1")
    usage = {"gpt-4": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}}
    judgments = [judgment("1", {"readability": 4}, reply="good", usage=usage), judgment("2", {}, reply="no")]
    files = bench.export([*said, Answer(question="3", system="mixture", error="timeout")], judgments)
    assert list(files) == ["mixture.jsonl", "mixture_review.jsonl"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    review = json.loads(files["mixture_review.jsonl"].partition("\n")[0])
    original = read_jsonl("flask/flask_evaluation.jsonl.gz")[0]
    assert review == {
        **original,
        "target_txt": "output 1",
        "review": "good",
        "score": {"readability": 4},
        "total_tokens_step4": 10,
    }
    assert bench.read_answers(tmp_path / "mixture.jsonl") == said[::-1]
    read = bench.read_judgments(tmp_path / "mixture_review.jsonl")
    assert [(one.question, one.system, one.score, one.reply) for one in read] == [
        ("1", "mixture", 4, "good"),
        ("2", "mixture", None, "no"),
    ]


@needs_fixtures
def test_published_outputs_can_be_read(bench):
    read = bench.read_answers(fixture_path("flask/model_output_chatgpt.jsonl.gz"))
    assert (len(read), read[0].system) == (1700, "gpt-3.5-turbo:20230327")


@needs_fixtures
def test_an_output_to_a_question_that_there_is_not_is_named_with_its_line(bench, tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text('{"question_id": 1, "text": "a"}\n{"question_id": 1741, "text": "b"}')
    with pytest.raises(DatasetError, match=re.escape("outputs.jsonl:2: FLASK has no question 1741")):
        bench.read_answers(path)


@needs_fixtures
def test_a_failed_answer_that_counts_as_wrong_has_the_lowest_score_in_every_skill(bench):
    question = bench.questions[0]
    metric = bench.metric([], bench.unanswered(Answer(question=question.id, system="a", error="timeout")))
    assert (metric.score(), metric.bounds) == (1, (1, 5))
    assert len(metric.breakdowns["skill"]) == len(question.fields["skill"])


@needs_fixtures
def test_nobody_is_asked_about_a_failed_answer(bench):
    assert not bench.judge(bench.questions[0], Answer(question="1", system="mixture", error="timeout"))
