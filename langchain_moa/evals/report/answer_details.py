"""What a report's page shows of each question: all answers, proposals and verdicts, with calls, cost and seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from langchain_core.messages import get_buffer_string

from langchain_moa.evals.report.findings import Findings, Run
from langchain_moa.evals.report.spending import dollars
from langchain_moa.evals.types import Answer, Benchmark, Judgment, Question
from langchain_moa.prices import Prices


@dataclass(frozen=True, kw_only=True)
class QuestionDetails:
    """One question with what every system made of it."""

    question: str
    """The question's id."""

    text: str
    differs: bool
    """Whether the systems' scores differ; no score differs from any."""

    failed: bool
    """Whether an answer or a judgment failed, or a verdict could not be parsed."""

    hurt: bool
    """Whether a mixture scored less than the report's baseline, or failed where that did not."""

    answers: Sequence[Mapping[str, Any] | None]
    """In the order of the report's systems, JSON-serializable. `None`: this system was not asked."""


def answer_details(
    benchmark: Benchmark, runs: Mapping[str, Run], report: Findings, *, prices: Prices | None
) -> list[QuestionDetails]:
    """Return the details of all questions that any system was asked, in the benchmark's order.

    Args:
        benchmark: The benchmark that was run.
        runs: `(answers, judgments)` by system name.
        report: The report made from them; it knows the baseline and which systems are mixtures.
        prices: Token prices. `None`: costs are left out.
    """
    systems = [row.system for row in report.systems]
    mixtures = {verdict.system for verdict in report.verdicts} - {report.baseline}
    by_system = {system: _by_question(*runs[system]) for system in systems}
    details = []
    for question in benchmark.questions:
        given = {system: by_system[system].get(question.id) for system in systems}
        if not any(given.values()):
            continue
        scores = {system: _score(one[1]) for system, one in given.items() if one}
        best = scores.get(report.baseline) if report.baseline else None
        details.append(
            QuestionDetails(
                question=question.id,
                text=_text(question),
                differs=len(set(scores.values())) > 1,
                failed=any(_is_failed(*one) for one in given.values() if one),
                hurt=best is not None
                and any(_is_less(scores[system], best) for system in mixtures if system in scores),
                answers=[one and _answer(*one, prices) for one in given.values()],
            )
        )
    return details


_Given = tuple[Answer, Sequence[Judgment]]


def _by_question(answers: Sequence[Answer], judgments: Sequence[Judgment]) -> dict[str, _Given]:
    judged = defaultdict(list)
    for judgment in judgments:
        judged[judgment.question].append(judgment)
    return {answer.question: (answer, judged[answer.question]) for answer in answers}


def _score(judgments: Sequence[Judgment]) -> float | None:
    scores = [judgment.score for judgment in judgments if judgment.score is not None]
    return fmean(scores) if scores else None


def _is_failed(answer: Answer, judgments: Sequence[Judgment]) -> bool:
    return answer.error is not None or any(judgment.score is None for judgment in judgments)


def _is_less(score: float | None, than: float) -> bool:
    return score is None or score < than


def _text(question: Question) -> str:
    """Return the user's words; with roles where there are several messages."""
    messages = [message for turn in question.turns for message in turn]
    return messages[0].text if len(messages) == 1 else get_buffer_string(messages)


def _answer(answer: Answer, judgments: Sequence[Judgment], prices: Prices | None) -> dict[str, Any]:
    return {
        "texts": list(answer.texts),
        "error": answer.error,
        "score": _score(judgments),
        "calls": answer.calls or None,
        "seconds": answer.seconds,
        "usd": dollars([answer.usage], prices) if answer.usage else None,
        "verdicts": [
            {"part": one.part, "score": one.score, "reply": one.reply, "error": one.error, "fields": dict(one.fields)}
            for one in judgments
        ],
        "proposals": list(_proposals(answer)),
    }


def _proposals(answer: Answer) -> Iterator[dict[str, Any]]:
    """Return the calls inside a composed system, as far as it told of them in its `response_metadata`."""
    for turn, metadata in enumerate(answer.metadata, 1):
        inside = metadata.get("moa")
        layers = inside.get("layers") if isinstance(inside, Mapping) else None
        for layer, calls in enumerate(layers or [], 1):
            for call in calls:
                told = {name: call.get(name) for name in ("proposer", "model", "status", "text", "error", "seconds")}
                yield {"turn": turn, "layer": layer, **told}
