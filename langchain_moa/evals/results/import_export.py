"""Import and export results in the formats of the benchmarks' original tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_moa.evals.results.current import current_judgments
from langchain_moa.evals.results.keys import answer_key, key_of
from langchain_moa.evals.results.store import Store, in_order, row_of
from langchain_moa.evals.types import Answer, Benchmark, Judgment

_IMPORTED = "imported"


def import_answers(
    benchmark: Benchmark, answers: Sequence[Answer], store: Store, *, source: str, overwrite: bool = False
) -> None:
    """Store a system's answers as if they had been generated.

    Args:
        benchmark: The benchmark that the answers are to.
        answers: Answers of one system, from `Benchmark.read_answers`.
        store: Where to store them; its system name replaces the one in the answers.
        source: Where they come from, recorded in the manifest.
        overwrite: Discard stored answers.

    Raises:
        ValueError: The store has other answers, or another process is using it.
    """
    rows = [row_of(replace(answer, system=store.system), key=_IMPORTED) for answer in answers]
    with store.locked():
        made_with = {"system": {"spec": f"{_IMPORTED} from {source}", "fingerprint": key_of(rows)}}
        store.claim_outputs(made_with, overwrite=overwrite)
        store.output_journal().rewrite(in_order(rows, benchmark))


def import_judgments(
    benchmark: Benchmark,
    judgments: Sequence[Judgment],
    store: Store,
    *,
    judge: str,
    source: str,
    overwrite: bool = False,
) -> None:
    """Store a judge's judgments of the stored answers. Judgments of other questions are left out.

    Args:
        benchmark: The benchmark that the judgments are of.
        judgments: Judgments of one system, from `Benchmark.read_judgments`.
        store: Where to store them; it has the answers already.
        judge: Name of the judge.
        source: Where they come from, recorded in the manifest.
        overwrite: Discard stored judgments of that judge.

    Raises:
        ValueError: The store has other judgments, or another process is using it.
    """
    keys = {answer.question: answer_key(answer) for answer in store.answers() if answer.error is None}
    parts = Counter(judgment.question for judgment in judgments)
    rows = [
        row_of(
            replace(judgment, system=store.system),
            key=_IMPORTED,
            answer=keys[judgment.question],
            parts=parts[judgment.question],
        )
        for judgment in judgments
        if judgment.question in keys
    ]
    with store.locked():
        made_with = {"judge": {"spec": f"{_IMPORTED} from {source}", "fingerprint": key_of(rows)}}
        store.claim_judgments(judge, made_with, overwrite=overwrite)
        store.judgment_journal(judge).rewrite(in_order(rows, benchmark))


def export_results(benchmark: Benchmark, store: Store, *, judge: str | None) -> Mapping[str, str]:
    """Return a system's results in the format of the benchmark's original tools: file names to contents."""
    answers = store.answers()
    return benchmark.export(answers, current_judgments(answers, store, judge) if judge else [])
