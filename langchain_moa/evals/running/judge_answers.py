"""A benchmark's judgments of a system's answers."""

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
"""Names the judgments of a benchmark that needs no judge."""

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
    """Judge a system's answers, save for those that are judged already. Failed answers are passed over.

    A judge's call that fails is recorded with its error, and the others go on; the next time it is made again.

    Args:
        benchmark: Says what to ask the judge, and reads its replies.
        answers: One system's.
        store: Takes each judgment as it comes.
        judge: Who judges; `None` for a benchmark whose verdicts need nobody.
        concurrency: Answers at a time; the judge's calls about one answer are made one after the other.
        overwrite: Discard the judgments that are there.
        on_judged: Is told of each answer and its judgments, those that were there already first.

    Returns:
        The judgments of `answers` in the benchmark's order, failed ones too.

    Raises:
        ValueError: The store holds judgments of another judge or to another prompt, another process uses it, or the
            benchmark needs a judge and there is none, or it can't be built.
    """
    if judge:
        judge.model({})  # what is wrong with the configuration shows before the first call
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
    """Return what there is about each answer and did not fail, by question."""
    finished: dict[str, list[Row]] = {answer.question: [] for answer in answers}
    for row in current_rows(rows, answers):
        if not row.get("error"):
            finished[row["question"]].append(row)
    return finished


def _is_graded(rows: Sequence[Row], benchmark: Benchmark, answer: Answer) -> bool:
    """Tell whether all verdicts are there without a judge: then the grader, which may be slow, need not run again."""
    key = _verdict_key(benchmark, answer)
    return bool(rows) and all(row.get("key") == key and row.get("parts") == len(rows) for row in rows)


def _key(verdict: JudgeCall | Judgment, benchmark: Benchmark, answer: Answer) -> str:
    """Return the hash of what decides a verdict, apart from who judges."""
    if isinstance(verdict, Judgment):
        return _verdict_key(benchmark, answer)
    return key_of(answer.question, words_of(verdict.messages), dict(verdict.arguments))


def _verdict_key(benchmark: Benchmark, answer: Answer) -> str:
    return key_of(benchmark.fingerprint, answer_key(answer))


def _find(rows: Sequence[Row], verdict: JudgeCall | Judgment, key: str, store: Store) -> Row | None:
    """Return the line that holds a verdict, if there is one.

    Raises:
        ValueError: A judge was asked about the same answer in other words.
    """
    row = next((row for row in rows if row["part"] == verdict.part), None)
    if row is None or row.get("key") == key:
        return row
    if isinstance(verdict, JudgeCall):
        msg = (
            f"{str(store.path)!r} holds a judgment of question {row['question']!r} with another prompt, baseline or "
            "judge mode: name this judge otherwise, --judge NAME=SPEC, or discard what is there with "
            "`moa eval judge --overwrite`."
        )
        raise ValueError(msg)
    return None


def _made_with(judge: System | None) -> dict[str, Mapping[str, str]]:
    return {"judge": {"spec": judge.spec, "fingerprint": judge.fingerprint}} if judge else {}


async def _verdicts(benchmark: Benchmark, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
    """Ask the benchmark, in a thread: a grader of the user's may take its time, and may fail."""
    try:
        return await asyncio.to_thread(benchmark.judge, question, answer)
    except Exception as failure:
        return [Judgment(question=answer.question, system=answer.system, error=describe(failure))]


async def _judgment(verdict: JudgeCall | Judgment, answer: Answer, judge: System | None) -> Judgment:
    """Return a verdict, from the judge where it takes one. What goes wrong is part of it."""
    if isinstance(verdict, Judgment):
        return verdict
    if judge is None:
        msg = "This benchmark needs a judge: name one with --judge."
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
