"""Results that another tool made, and results for another tool, in the benchmarks' own formats."""

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
    """Keep a system's answers, as if it had been asked.

    Args:
        benchmark: Whose questions they answer.
        answers: One system's, as `Benchmark.read_answers` returns them.
        store: Takes them under its own name for the system.
        source: Where they are from, for whoever finds them later.
        overwrite: Discard other answers that are there.

    Raises:
        ValueError: There are other answers, or another process uses the store.
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
    """Keep a judge's judgments of the answers that are there. Those of other answers are left out.

    Args:
        benchmark: Whose judgments they are.
        judgments: Of one system, as `Benchmark.read_judgments` returns them.
        store: Takes them; it holds the answers.
        judge: What to call the judge.
        source: As for `import_answers`.
        overwrite: Discard other judgments of that judge that are there.

    Raises:
        ValueError: There are other judgments, or another process uses the store.
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
