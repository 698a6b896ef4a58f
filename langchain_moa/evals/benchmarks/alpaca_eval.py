"""AlpacaEval 2: 805 instructions, answers compared with GPT-4 Turbo's by a judge, length-controlled win rate.

Source of the protocol: tatsu-lab/alpaca_eval, `weighted_alpaca_eval_gpt4_turbo` (arXiv:2404.04475); of the decoding:
togethercomputer/MoA, generate_for_alpaca_eval.py. The data is licensed CC BY-NC 4.0: it is downloaded on
first use and not part of this package.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from langchain_core.messages import HumanMessage

from langchain_moa.evals.benchmarks.alpaca_eval_files import (
    PUBLISHED_JUDGE,
    EvalRow,
    read_annotations,
    read_list,
    read_outputs,
    write_annotations,
    write_outputs,
)
from langchain_moa.evals.benchmarks.alpaca_eval_judge import (
    JUDGE_PROMPT,
    LOGPROBS_DECODING,
    JudgeMode,
    is_switched,
    judge_messages,
    read_choice,
    read_logprobs,
)
from langchain_moa.evals.datasets.downloads import DataFile, fetch, read_text
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.judge_names import judge_of
from langchain_moa.evals.statistics.mean_metric import means_by
from langchain_moa.evals.statistics.metric_warnings import other_judge, part_of_the_questions, unscored
from langchain_moa.evals.statistics.win_rate_metric import WinRateMetric
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question
from langchain_moa.exceptions import DatasetError

if TYPE_CHECKING:
    from langchain_moa.evals.statistics.length_control import LengthControl

EVAL_SET = DataFile(
    name="alpaca_eval/eval_set_gpt4_1106_preview.json",
    url="https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20/"
    "results/gpt4_1106_preview/model_outputs.json",
    sha256="83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
)
# Second hand: the revision and the hash are those that several public reproductions name.
GAMED_JUDGMENTS = DataFile(
    name="alpaca_eval/df_gamed.csv",
    url="https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/2edc6fad8be6b14ea7230aabfd08188da6b8b814/"
    "df_gamed.csv",
    sha256="97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
)

DifficultyBy = Literal["instruction", "position"]

_DECODING = {"temperature": 0.7, "max_tokens": 2048}

# A failed call or two is no reason to lose the main figure: published rows have from 802 to 805 judgments.
_MOST_MISSING = 8

# Of the beginning of an output: where so many characters are the same, the rest hardly depends on the instruction.
_SAME_CHARACTERS = 100


class AlpacaEval:
    """AlpacaEval 2: 805 instructions, each answer compared with GPT-4 Turbo's by a judge."""

    name = "alpaca_eval"
    score_name = "win rate (%)"

    def __init__(self, *, judge_mode: JudgeMode = "logprobs", difficulty_by: DifficultyBy = "instruction") -> None:
        """Load the instructions and the baseline's outputs; they are downloaded on first use.

        Args:
            judge_mode: `logprobs`, or `text` for a judge without log-probabilities, whose scores are not comparable
                with published ones.
            difficulty_by: Where judgments are missing, whether the length control gives each judgment the difficulty of
                its own `instruction`, or as the original that of the instruction at its `position` among the judgments.
                Published figures are by position. With all 805 judgments both are the same.

        Raises:
            DatasetError: The data can't be downloaded.
        """
        self._judge_mode = judge_mode
        self._difficulty_by = difficulty_by
        rows = read_list(fetch(EVAL_SET), EvalRow)
        self.questions: Sequence[Question] = tuple(_question(index, row) for index, row in enumerate(rows))
        protocol = f"{EVAL_SET.sha256}{JUDGE_PROMPT}{judge_mode}"
        self.fingerprint = hashlib.sha256(protocol.encode()).hexdigest()
        self._by_id = {question.id: question for question in self.questions}

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the judge call that compares the answer with the baseline's; identical answers are a draw."""
        if answer.error is not None:
            return ()
        instruction, baseline, output = question.turns[0][0].text, question.fields["baseline"], answer.texts[0]
        if output == baseline:
            return [Judgment(question=question.id, system=answer.system, score=1.5, fields={"identical": True})]
        switched = is_switched(instruction)
        first, second = (output, baseline) if switched else (baseline, output)
        # A judge that reasons needs its own temperature and more tokens than one.
        arguments, read = (LOGPROBS_DECODING, read_logprobs) if self._judge_mode == "logprobs" else ({}, read_choice)
        messages = judge_messages(instruction, first, second)
        return [JudgeCall(part="", messages=messages, arguments=arguments, read=partial(read, switched=switched))]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return a loss against the baseline. For length control the output is empty."""
        return [failed_judgment(answer, 1)]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> WinRateMetric:
        """Return the win rates against the baseline, overall and by source dataset.

        The main score is the length-controlled win rate if (almost) all instructions were judged and `df_gamed.csv` and
        scikit-learn are available. Otherwise it is the raw win rate, and a warning gives the reason.
        """
        answered = {answer.question: answer.texts[0] for answer in answers if answer.error is None}
        failed = {judgment.question: "" for judgment in judgments if judgment.fields.get("failed")}
        outputs = {**answered, **failed}
        scores = {judgment.question: judgment.score for judgment in judgments}
        preferences = {
            question.id: score
            for question in self.questions
            if question.id in outputs and (score := scores.get(question.id)) is not None
        }
        control, reason = self._length_control(preferences, outputs)
        asked = [one for one in judgments if not one.fields.get("identical") and not one.fields.get("failed")]
        datasets = ((self._by_id[name].fields["dataset"], 100 * (score - 1)) for name, score in preferences.items())
        return WinRateMetric(
            preferences,
            control=control,
            average_length=int(fmean(map(len, answered.values()))) if answered else float("nan"),
            breakdowns={"dataset": means_by(datasets, sorted({q.fields["dataset"] for q in self.questions}))},
            warnings=[
                *part_of_the_questions(len(preferences), len(self.questions)),
                *reason,
                *other_judge(asked, [PUBLISHED_JUDGE]),
                *unscored(judgments),
                *_other_mode(asked),
                *_near_constant(answered.values()),
            ],
        )

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return AlpacaEval's files `model_outputs.json` and `annotations.json`. Failed answers are omitted."""
        answered = {answer.question: answer for answer in answers if answer.error is None}
        judged = {judgment.question: judgment for judgment in judgments if judgment.error is None}
        files = {"model_outputs.json": write_outputs(self.questions, answered)}
        if judged:
            judge = judge_of(judgments)
            files["annotations.json"] = write_annotations(self.questions, answered, judged, judge)
        return files

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read a `model_outputs.json`, or the outputs in an `annotations.json`.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown instruction.
        """
        return read_outputs(path, self.questions)

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read an `annotations.json`, with the preferences that it holds.

        Raises:
            DatasetError: The file is missing or malformed, has an unknown instruction, or another baseline.
        """
        return read_annotations(path, self.questions)

    def _length_control(
        self, preferences: Mapping[str, float], outputs: Mapping[str, str]
    ) -> tuple[LengthControl | None, list[str]]:
        """Return the length control, or why there is none, or what the original would return."""
        if len(preferences) < len(self.questions) - _MOST_MISSING:
            return None, ["The win rate is not length-controlled: that takes judgments of all questions."]
        try:
            # numpy and scikit-learn are wanted here only.
            from langchain_moa.evals.statistics.length_control import LengthControl, read_gamed_judgments

            gamed = read_gamed_judgments(read_text(fetch(GAMED_JUDGMENTS)))
        except (ImportError, DatasetError) as error:
            return None, [f"The win rate is not length-controlled: {error}"]
        lengths = [len(self._by_id[name].fields["baseline"]) - len(outputs[name]) for name in preferences]

        def control(difficulty_by: DifficultyBy) -> LengthControl:
            places = map(int, preferences) if difficulty_by == "instruction" else range(len(preferences))
            return LengthControl(
                gamed,
                preferences=[score - 1 for score in preferences.values()],
                lengths=lengths,
                difficulties=[gamed.difficulties[place] for place in places],
            )

        if len(preferences) == len(self.questions) or self._difficulty_by == "position":
            return control(self._difficulty_by), []
        original = (
            f"With {len(preferences)} of {len(self.questions)} judgments, alpaca_eval takes difficulties of other "
            f"instructions: compare its length-controlled {control('position').win_rate:.2f} % with published figures."
        )
        return control("instruction"), [original]


def _question(index: int, row: EvalRow) -> Question:
    return Question(
        id=str(index),
        turns=((HumanMessage(row["instruction"]),),),
        decoding=_DECODING,
        fields={"baseline": row["output"], "dataset": row["dataset"]},
    )


def _other_mode(judgments: Sequence[Judgment]) -> list[str]:
    """Warn of judgments that are not from log-probabilities, and of a judge that returns none."""
    warnings = []
    if any(judgment.fields.get("discrete") for judgment in judgments):
        warnings.append("The judge's text was read, not its log-probabilities: not comparable with published figures.")
    if silent := sum(judgment.fields.get("logprobs", {}) is None for judgment in judgments):
        warnings.append(f"{silent} replies of the judge came without log-probabilities: use the judge mode `text`.")
    return warnings


def _near_constant(outputs: Iterable[str]) -> list[str]:
    """Warn of nearly constant outputs: a constant text with an injected prompt can win."""
    beginnings = Counter(output[:_SAME_CHARACTERS] for output in outputs)
    most = max(beginnings.values(), default=0)
    if most <= max(1, beginnings.total() / 2):
        return []
    return [f"{most} of {beginnings.total()} outputs begin with the same text: the judge may have been misled."]
