"""Pairwise comparison with a baseline by a judge, asked twice with the order of the answers swapped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, Literal

from langchain_core.messages import AIMessage, get_buffer_string

from langchain_moa.evals.datasets.fastchat import JudgePrompt, judge_prompts
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.judge_names import judge_fields
from langchain_moa.evals.statistics.mean_metric import MeanMetric
from langchain_moa.evals.statistics.metric_warnings import unscored
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question

PairwiseVerdict = Literal["A", "B", "C"]
"""The first answer is better, the second is, or they are equally good."""

_TIE = 0.5
# The score of each verdict for the system, by the order of the answers.
_SCORES: Mapping[str, Mapping[PairwiseVerdict, float]] = {
    "baseline_first": {"A": 0, "B": 1, "C": _TIE},
    "system_first": {"A": 1, "B": 0, "C": _TIE},
}
_JUDGE_ARGUMENTS = {"temperature": 0, "max_tokens": 2048}


def parse_verdict(reply: str) -> PairwiseVerdict | None:
    """Parse the verdict in a judge's reply. `None`: it has none.

    If a reply contains several, `[[A]]` takes precedence over `[[B]]`, and `[[B]]` over `[[C]]`.
    Source: lm-sys/FastChat, fastchat/llm_judge/common.py::run_judge_pair.
    """
    verdicts: tuple[PairwiseVerdict, ...] = ("A", "B", "C")
    return next((verdict for verdict in verdicts if f"[[{verdict}]]" in reply), None)


class Pairwise:
    """A grader for a `Task` that asks a judge to compare each answer with a baseline's answer.

    The prompts are MT-Bench's for pairwise comparison (arXiv:2306.05685): `pair-v2`, or `pair-math-v1` where the
    question has a reference. The win rate is not length-controlled (unlike AlpacaEval 2, which fits that on published
    judgments); the mean answer lengths are reported beside it.
    """

    score_name = "win rate (%)"

    def __init__(self, baseline: Sequence[Answer]) -> None:
        """Create a grader with a baseline.

        Args:
            baseline: The answers of one system. Questions that it failed to answer are not scored.

        Raises:
            ValueError: There are no answers, or they are from several systems.
        """
        systems = sorted({answer.system for answer in baseline})
        self._baseline = {answer.question: answer.texts[0] for answer in baseline if answer.error is None}
        if len(systems) != 1 or not self._baseline:
            raise ValueError(
                f"The baseline must be the answers of one system; got {len(self._baseline)} answers of {systems!r}"
            )
        self._name = systems[0]
        content = json.dumps([sorted(self._baseline.items()), *map(repr, judge_prompts().values())])
        self.fingerprint = f"pairwise {hashlib.sha256(content.encode()).hexdigest()}"

    def check(self, question: Question) -> None:
        """Accept any question."""

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return one judge call per order; identical answers are ties without a call."""
        baseline = self._baseline.get(question.id)
        if baseline is None:
            return ()
        system = answer.texts[0]
        if system == baseline:
            return [_equal(question, answer, order) for order in _SCORES]
        return [
            _judge_call(question, "baseline_first", baseline, system),
            _judge_call(question, "system_first", system, baseline),
        ]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return a loss in both orders, where the baseline answered."""
        orders = _SCORES if answer.question in self._baseline else ()
        return [failed_judgment(answer, 0, part=order) for order in orders]

    def metric(
        self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]
    ) -> MeanMetric:
        """Return the win rate in percent, where a tie is half a win.

        A question whose verdict differs between the two orders is a tie; the share of questions where it does not is
        the `consistency`. Questions without a verdict in both orders are not scored. Source: lm-sys/FastChat,
        fastchat/llm_judge/show_result.py, `win_rate_adjusted`.
        """
        scores: dict[str, list[float]] = defaultdict(list)
        for judgment in judgments:
            if judgment.score is not None:
                scores[judgment.question].append(judgment.score)
        pairs = {question.id: scores[question.id] for question in questions if len(scores[question.id]) == len(_SCORES)}
        results = {question: first if first == second else _TIE for question, (first, second) in pairs.items()}
        counts = Counter(results.values())
        consistent = [100.0 * (first == second) for first, second in pairs.values()]
        texts = {answer.question: answer.texts[0] for answer in answers if answer.error is None}
        return MeanMetric(
            {question: [("", 100 * result)] for question, result in results.items()},
            name="win rate",
            bounds=(0, 100),
            figures={
                "wins": counts[1],
                "ties": counts[_TIE],
                "losses": counts[0],
                "consistency": _mean(consistent),
                "mean length": _mean([len(texts[question]) for question in results if question in texts]),
                "baseline's mean length": _mean([len(self._baseline.get(question, "")) for question in results]),
            },
            breakdowns={},
            warnings=[*unscored(judgments), *_inconsistent(consistent), *self._without_baseline(texts)],
        )

    def _without_baseline(self, answered: Mapping[str, str]) -> list[str]:
        count = sum(question not in self._baseline for question in answered)
        return [f"Answers without one of the baseline {self._name!r} to compare with: {count}."] if count else []


def _equal(question: Question, answer: Answer, order: str) -> Judgment:
    return Judgment(question=question.id, system=answer.system, part=order, score=_TIE, fields={"identical": True})


def _judge_call(question: Question, order: str, first: str, second: str) -> JudgeCall:
    texts = {"question": _question_text(question), "answer_a": first, "answer_b": second}
    reference = question.fields["reference"]
    if reference is not None:
        texts["ref_answer_1"] = reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False)
    prompt = judge_prompts()["pair-v2" if reference is None else "pair-math-v1"]
    return JudgeCall(
        part=order,
        messages=prompt.messages(**texts),
        arguments=_JUDGE_ARGUMENTS,
        read=partial(_read, order=order, prompt=prompt),
    )


def _read(reply: AIMessage, *, order: str, prompt: JudgePrompt) -> tuple[float | None, Mapping[str, Any]]:
    verdict = parse_verdict(reply.text)
    fields = {"verdict": verdict, "prompt": prompt.name, **judge_fields(reply)}
    return None if verdict is None else _SCORES[order][verdict], fields


def _question_text(question: Question) -> str:
    (messages,) = question.turns
    return messages[0].text if len(messages) == 1 else get_buffer_string(messages)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else float("nan")


def _inconsistent(consistent: Sequence[float]) -> list[str]:
    count = consistent.count(0)
    if not count:
        return []
    return [
        f"On {count} of {len(consistent)} questions the judge's verdict changed with the order: they count as ties."
    ]
