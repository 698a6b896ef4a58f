"""Judge a system's answers to a benchmark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from langchain_moa.evals.results.current import current_rows
from langchain_moa.evals.results.journal import Row
from langchain_moa.evals.results.keys import answer_key, key_of, words_of
from langchain_moa.evals.results.store import Store, in_order, row_of
from langchain_moa.evals.running.call_meter import CallMeter
from langchain_moa.evals.running.concurrency import for_each
from langchain_moa.evals.systems import System
from langchain_moa.evals.types import Answer, Benchmark, JudgeCall, Judgment, Question
from langchain_moa.exceptions import describe

NO_JUDGE = "none"
"""The judge's name in files, for a benchmark that needs no judge."""

OnJudged = Callable[[Answer, Sequence[Judgment]], None]


async def judge_answers(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    store: Store,
    *,
    judge: System | None = None,
    concurrency: int = 8,
    overwrite: bool = False,
    on_judged: OnJudged | None = None,
) -> list[Judgment]:
    """Judge a system's answers; stored judgments are reused, failed answers are skipped.

    If a judge call fails, its error is stored and the others continue; the next call retries it.

    Args:
        benchmark: Defines the judge calls and parses the replies.
        answers: Answers of one system.
        store: Where each judgment is stored as soon as it is complete.
        judge: The judge. `None` for a benchmark that needs none, such as most tasks of your own.
        concurrency: Number of answers judged at a time; the judge calls about one answer run one after the other.
        overwrite: Discard stored judgments.
        on_judged: Called with each answer and its judgments.

    Returns:
        The judgments of `answers` in the benchmark's order, including failed ones.

    Raises:
        ValueError: The store has judgments of another judge or for another prompt, another process is using it, or the
            judge is missing or can't be built.
    """
    if judge:
        judge.model({})  # raises configuration errors before the first call
    name = judge.name if judge else NO_JUDGE
    questions = {question.id: question for question in benchmark.questions}
    answers = [answer for answer in answers if not answer.error and answer.question in questions]
    with store.locked():
        store.claim_judgments(name, _made_with(judge), overwrite=overwrite)
        journal = store.judgment_journal(name)
        rows = _finished(journal.rows, answers)

        async def work(answer: Answer) -> None:
            if not _is_graded(rows[answer.question], benchmark, answer):
                before, rows[answer.question] = rows[answer.question], []
                verdicts = await _verdicts(benchmark, questions[answer.question], answer)
                for verdict in verdicts:
                    key = _key(verdict, benchmark, answer)
                    row = _find(before, verdict, key, store)
                    if row is None:
                        judgment = await _judgment(verdict, answer, judge)
                        row = row_of(judgment, key=key, answer=answer_key(answer), parts=len(verdicts))
                        journal.append(row)
                    rows[answer.question].append(row)
            if on_judged:
                on_judged(answer, store.to_judgments(rows[answer.question], name))

        with journal:
            await for_each(answers, work, concurrency=concurrency)
        others = [row for row in journal.rows if row["question"] not in rows]
        journal.rewrite(in_order([*chain.from_iterable(rows.values()), *others], benchmark))
        return [judgment for judgment in store.judgments(name) if judgment.question in rows]


def _finished(rows: Sequence[Row], answers: Sequence[Answer]) -> dict[str, list[Row]]:
    """Return the successful rows for each answer, by question."""
    finished: dict[str, list[Row]] = {answer.question: [] for answer in answers}
    for row in current_rows(rows, answers):
        if not row.get("error"):
            finished[row["question"]].append(row)
    return finished


def _is_graded(rows: Sequence[Row], benchmark: Benchmark, answer: Answer) -> bool:
    """Whether the grader's judgments are complete, so that a possibly slow grader need not run again."""
    key = _verdict_key(benchmark, answer)
    return bool(rows) and all(row.get("key") == key and row.get("parts") == len(rows) for row in rows)


def _key(verdict: JudgeCall | Judgment, benchmark: Benchmark, answer: Answer) -> str:
    """Return a hash of what determines a verdict, apart from the judge."""
    if isinstance(verdict, Judgment):
        return _verdict_key(benchmark, answer)
    return key_of(answer.question, words_of(verdict.messages), dict(verdict.arguments))


def _verdict_key(benchmark: Benchmark, answer: Answer) -> str:
    return key_of(benchmark.fingerprint, answer_key(answer))


def _find(rows: Sequence[Row], verdict: JudgeCall | Judgment, key: str, store: Store) -> Row | None:
    """Return the stored row of a verdict, if there is one.

    Raises:
        ValueError: The stored judgment is from another prompt.
    """
    row = next((row for row in rows if row["part"] == verdict.part), None)
    if row is None or row.get("key") == key:
        return row
    if isinstance(verdict, JudgeCall):
        msg = (
            f"{str(store.path)!r} has a judgment of question {row['question']!r} with another prompt, baseline or "
            "judge mode: give this judge another name, --judge NAME=SPEC, or discard the stored judgments with "
            "`moa eval judge --overwrite`."
        )
        raise ValueError(msg)
    return None


def _made_with(judge: System | None) -> dict[str, Mapping[str, str]]:
    return {"judge": {"spec": judge.spec, "fingerprint": judge.fingerprint}} if judge else {}


async def _verdicts(benchmark: Benchmark, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
    """Call `Benchmark.judge` in a thread, because a user's grader may block. An error becomes a failed judgment."""
    try:
        return await asyncio.to_thread(benchmark.judge, question, answer)
    except Exception as failure:
        return [Judgment(question=answer.question, system=answer.system, error=describe(failure))]


async def _judgment(verdict: JudgeCall | Judgment, answer: Answer, judge: System | None) -> Judgment:
    """Return the judgment, calling the judge if needed. An error is recorded in the judgment."""
    if isinstance(verdict, Judgment):
        return verdict
    if judge is None:
        msg = "This benchmark needs a judge: pass one with --judge."
        raise ValueError(msg)
    meter = CallMeter()
    reply, error, score = "", None, None
    fields: Mapping[str, Any] = {}
    try:
        message = await judge.model({}).ainvoke(verdict.messages, {"callbacks": meter.callbacks}, **verdict.arguments)
        reply = message.text
        score, fields = verdict.read(message)
    except Exception as failure:
        error = describe(failure)
    return Judgment(
        question=answer.question,
        system=answer.system,
        part=verdict.part,
        score=score,
        fields=fields,
        reply=reply,
        usage=meter.usage,
        error=error,
    )
