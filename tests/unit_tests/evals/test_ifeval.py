"""IFEval: its instructions' checks, against upstream's recorded verdicts, its accuracies and its files."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from langchain_moa.evals.benchmarks import ifeval
from langchain_moa.evals.benchmarks.ifeval import IFEval
from langchain_moa.evals.benchmarks.ifeval_instructions import followed, followed_loosely
from langchain_moa.evals.datasets.downloads import DIRECTORY, DataFile
from langchain_moa.evals.types import Answer
from langchain_moa.exceptions import DatasetError

pytest.importorskip("langdetect")
pytest.importorskip("nltk")

# What google-research/google-research, instruction_following_eval, says of these texts, with langdetect's seed at 0.
VERDICTS = Path(__file__).parents[2] / "data" / "ifeval_verdicts.jsonl"
RECORDED = [json.loads(line) for line in VERDICTS.read_text(encoding="utf-8").split("\n") if line]

PROMPTS = [
    {
        "key": 7,
        "prompt": "Write two words without a comma.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "less than", "num_words": 3}],
    },
    {
        "key": 8,
        "prompt": "Answer in quotes.",
        "instruction_id_list": ["startend:quotation"],
        "kwargs": [{}],
    },
]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load IFEval with these prompts: `load(prompts)`."""

    def load_it(prompts=PROMPTS):
        content = "".join(f"{json.dumps(row)}\n" for row in prompts).encode()
        path = tmp_path / "data" / "ifeval" / "input_data.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        monkeypatch.setenv(DIRECTORY, str(tmp_path / "data"))
        file = DataFile(name=ifeval.INPUT_DATA.name, url="https://x", sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(ifeval, "INPUT_DATA", file)
        return IFEval()

    return load_it


def answers_of(*texts, system="model"):
    return [Answer(question=str(7 + i), system=system, texts=(text,)) for i, text in enumerate(texts)]


def judgments_of(bench, answers):
    by_id = {question.id: question for question in bench.questions}
    return [judgment for answer in answers for judgment in bench.judge(by_id[answer.question], answer)]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["instruction"])
def test_every_verdict_is_upstreams(case):
    checks = (followed, followed_loosely)
    strict, loose = (check(case["instruction"], case["arguments"], case["text"]) for check in checks)
    assert (strict, loose) == (case["strict"], case["loose"])


def test_every_instruction_is_recorded_followed_and_not_followed():
    strict = Counter((case["instruction"], case["strict"]) for case in RECORDED)
    assert len({instruction for instruction, _ in strict}) == 25
    assert len(strict) == 50


def test_a_checks_verdict_does_not_change_from_call_to_call():
    verdicts = {followed("language:response_language", {"language": "en"}, "ok no la") for _ in range(20)}
    assert len(verdicts) == 1


def test_accuracy_is_by_prompt_and_by_instruction_strict_and_loose(load):
    bench = load()
    answers = answers_of("one, two", 'Sure:\n"Yes."')
    judgments = judgments_of(bench, answers)
    assert [judgment.fields for judgment in judgments] == [
        {"strict": [False, True], "loose": [False, True]},
        {"strict": [False], "loose": [True]},
    ]
    metric = bench.metric(answers, judgments)
    assert metric.score() == 0
    assert metric.figures == {
        "prompts, strict": 0,
        "instructions, strict": pytest.approx(100 / 3),
        "prompts, loose": 50,
        "instructions, loose": pytest.approx(200 / 3),
    }
    assert metric.breakdowns["group"] == {"length_constraints": 100, "punctuation": 0, "startend": 0}


def test_a_failed_answer_follows_no_instruction_where_failures_are_wrong(load):
    bench = load()
    failed = Answer(question="7", system="model", error="timeout")
    assert bench.judge(bench.questions[0], failed) == ()
    metric = bench.metric([failed], bench.unanswered(failed))
    assert (metric.score(), metric.figures["instructions, loose"]) == (0, 0)


def test_a_part_of_the_prompts_is_marked_as_such(load):
    bench = load()
    answers = answers_of("one two")
    metric = bench.metric(answers, judgments_of(bench, answers))
    assert (metric.score(), metric.questions) == (100, ("7",))
    assert metric.warnings == ["Only 1 of the 2 questions count: not comparable with published figures."]


def test_upstreams_files_are_written_and_read(load, tmp_path):
    bench = load()
    answers = answers_of("one two", "no")
    files = bench.export(answers, judgments_of(bench, answers))
    assert json.loads(files["eval_results_strict.jsonl"].split("\n")[0]) == {
        "follow_all_instructions": True,
        "follow_instruction_list": [True, True],
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "prompt": "Write two words without a comma.",
        "response": "one two",
    }
    assert set(files) == {"input_response_data.jsonl", "eval_results_strict.jsonl", "eval_results_loose.jsonl"}
    path = tmp_path / "input_response_data_model.jsonl"
    path.write_text(files["input_response_data.jsonl"])
    assert bench.read_answers(path) == answers


def test_an_answer_to_another_prompt_is_an_error(load, tmp_path):
    path = tmp_path / "input_response_data_x.jsonl"
    path.write_text(json.dumps({"prompt": "Other?", "response": "x"}))
    with pytest.raises(DatasetError, match="IFEval has no prompt 'Other\\?'"):
        load().read_answers(path)


def test_an_instruction_without_a_check_is_an_error(load):
    with pytest.raises(DatasetError, match="Instruction 'new:one' is unknown"):
        load([{**PROMPTS[1], "instruction_id_list": ["new:one"]}])


def test_data_that_is_not_the_published_is_an_error(load, monkeypatch):
    original = ifeval.INPUT_DATA
    load()
    monkeypatch.setattr(ifeval, "INPUT_DATA", original)
    with pytest.raises(DatasetError, match="Wrong checksum"):
        IFEval()


def test_the_command_needs_no_judge(load, tmp_path):
    load()
    arguments = ["--bench", "ifeval", "--out", str(tmp_path / "out"), "--grader", "exact"]
    system = ["--system", "one=tests.unit_tests.evals.test_ifeval:two_words"]
    result = CliRunner().invoke(app, ["eval", "run", *arguments, *system])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "ifeval" / "report.json").read_text())
    assert report["systems"][0]["figures"]["prompts, strict"] == 50
    assert report["judge"] is None


def two_words():
    from tests.fakes import ScriptedChatModel

    return ScriptedChatModel(reply="one two")
