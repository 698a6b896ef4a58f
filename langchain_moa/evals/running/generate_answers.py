"""Generate a system's answers to a benchmark's questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa.evals.results.journal import Journal
from langchain_moa.evals.results.keys import key_of, words_of
from langchain_moa.evals.results.store import Store, in_order, row_of
from langchain_moa.evals.running.call_meter import CallMeter, plain
from langchain_moa.evals.running.concurrency import for_each
from langchain_moa.evals.running.kept_calls import KeptCalls
from langchain_moa.evals.systems import System
from langchain_moa.evals.types import Answer, Benchmark, Question
from langchain_moa.exceptions import describe

OnAnswer = Callable[[Answer], None]


async def generate_answers(
    benchmark: Benchmark,
    system: System,
    store: Store,
    *,
    questions: Sequence[Question] | None = None,
    concurrency: int = 8,
    overwrite: bool = False,
    on_answer: OnAnswer | None = None,
) -> list[Answer]:
    """Generate a system's answers to a benchmark's questions; stored answers are reused.

    If a question fails, its error is stored and the others continue; the next call retries it. Of an answer that is not
    finished the replies of every `KeptModel` are kept, and not asked for again.

    Args:
        benchmark: The benchmark.
        system: The system that answers.
        store: Where each answer is stored as soon as it is complete.
        questions: A subset of the benchmark's questions. Default: all.
        concurrency: Number of questions in flight at a time.
        overwrite: Discard stored answers.
        on_answer: Called with each answer, stored ones first.

    Returns:
        The answers in the benchmark's order, including failed ones.

    Raises:
        ValueError: The store has answers of another system or to another wording, another process is using it, or the
            system can't be built.
    """
    questions = benchmark.questions if questions is None else questions
    for question in questions:
        system.model(question.decoding)  # raises configuration errors before the first call
    with store.locked():
        made_with = {"system": {"spec": system.spec, "fingerprint": system.fingerprint}}
        store.claim_outputs(made_with, overwrite=overwrite)
        if overwrite:
            store.calls.unlink(missing_ok=True)
        kept = KeptCalls(store.calls)
        journal = store.output_journal()
        keys = {question.id: _key(benchmark, question, system.fingerprint) for question in questions}
        pending = _pending(questions, keys, journal, store)
        waiting = {question.id for question in pending}
        for answer in store.answers():
            if on_answer and answer.question in keys and answer.question not in waiting:
                on_answer(answer)

        async def work(question: Question) -> None:
            with kept.answering(keys[question.id]):
                answer = await _answer(question, system)
            journal.append(row_of(answer, key=keys[question.id]))
            if on_answer:
                on_answer(answer)

        with journal, kept:
            await for_each(pending, work, concurrency=concurrency)
        journal.rewrite(in_order(journal.rows, benchmark))
        kept.keep_only(row["key"] for row in journal.rows if row.get("error"))
        return [answer for answer in store.answers() if answer.question in keys]


def _key(benchmark: Benchmark, question: Question, fingerprint: str) -> str:
    """Return a hash of what determines an answer: the question's wording, the decoding and the system's fingerprint."""
    turns = [words_of(turn) for turn in question.turns]
    return key_of(benchmark.name, question.id, turns, dict(question.decoding), fingerprint)


def _pending(questions: Sequence[Question], keys: Mapping[str, str], journal: Journal, store: Store) -> list[Question]:
    """Return the questions that are not answered yet."""
    good = {row["question"]: row for row in journal.rows if not row.get("error")}
    for question in questions:
        if question.id in good and good[question.id].get("key") != keys[question.id]:
            msg = (
                f"{str(store.path)!r} has an answer to question {question.id!r} with another wording or decoding: "
                "choose another --out, or discard the stored answers with --overwrite."
            )
            raise ValueError(msg)
    return [question for question in questions if question.id not in good]


async def _answer(question: Question, system: System) -> Answer:
    """Ask a question, turn by turn. An error is recorded in the answer."""
    model, meter = system.model(question.decoding), CallMeter()
    texts: list[str] = []
    metadata: list[Mapping[str, Any]] = []
    error = None
    started = perf_counter()
    try:
        async for reply in _turns(question, model, meter):
            texts.append(reply.text.strip())
            metadata.append(plain(reply.response_metadata))
    except Exception as failure:
        error = describe(failure)
    return Answer(
        question=question.id,
        system=system.name,
        texts=tuple(texts),
        metadata=tuple(metadata),
        usage=meter.usage,
        calls=meter.calls,
        seconds=perf_counter() - started,
        error=error,
    )


async def _turns(question: Question, model: BaseChatModel, meter: CallMeter) -> AsyncIterator[AIMessage]:
    """Ask turn after turn, each with the conversation so far."""
    conversation: list[BaseMessage] = []
    for turn in question.turns:
        conversation += turn
        reply = await model.ainvoke(conversation, {"callbacks": meter.callbacks})
        conversation.append(AIMessage(reply.text.strip()))
        yield reply
