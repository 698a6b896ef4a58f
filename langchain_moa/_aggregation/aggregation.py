"""How references become one answer: synthesize, select, vote or analyze.

Each way is a plan: a generator that yields the questions it has for the aggregator on the way, is sent what they are
answered with, and returns how the answer comes about. So the sync and the async node share every line of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from langchain_moa._messages.prompts import Render, paper, to_analyze, to_select, with_analysis
from langchain_moa._runtime.ballot import Ballot
from langchain_moa.answer_keys import AnswerKey, answer_of
from langchain_moa.exceptions import MoAError, describe
from langchain_moa.state import Reference

Mode = Literal["synthesize", "select", "vote", "analyze"]


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """How the references of a mixture become one answer."""

    mode: Mode

    debias: bool
    """Select: ask the judge twice, with the candidates in both orders."""

    answer_key: AnswerKey
    """Vote: from a text to its answer."""

    window: int | None
    """Most references that the aggregator sees at once; `None`: all of them."""

    reserve: int
    """Places in the window that the synthesis so far takes, so that it counts for more."""

    render: Render
    """How references are shown."""

    def __post_init__(self) -> None:
        """Check that it can work.

        Raises:
            ValueError: The options contradict each other.
        """
        if self.debias and self.mode != "select":
            msg = f"debias is for aggregation='select', not {self.mode!r}."
            raise ValueError(msg)
        if self.window is not None and not 1 <= self.reserve < self.window:
            msg = f"reserve is {self.reserve}; give at least 1, and less than the window of {self.window}."
            raise ValueError(msg)

    @property
    def schema(self) -> type[BaseModel] | None:
        """What a judge answers with, when there is one."""
        schemas: dict[Mode, type[BaseModel]] = {"select": Verdict, "analyze": Analysis}
        return schemas.get(self.mode)


class Verdict(BaseModel):
    """Which response is the best."""

    best: int = Field(description="Number of the best response.", ge=1)
    reason: str = Field(description="Why it is the best, in one sentence.")


@cache
def verdict_among(candidates: int) -> type[Verdict]:
    """Return the schema of a verdict that can name none but so many candidates."""
    numbers: Any = Literal[tuple(range(1, candidates + 1))]
    field = (numbers, Field(description="Number of the best response."))
    return create_model("Verdict", __base__=Verdict, __doc__=Verdict.__doc__, best=field)


class Analysis(BaseModel):
    """How the responses compare."""

    consensus: list[str] = Field(description="What all or most responses agree on.")
    contradictions: list[str] = Field(description="Where they contradict each other, and which side is right.")
    partial_coverage: list[str] = Field(description="What matters and only some of them cover.")
    unique_insights: list[str] = Field(description="What matters and only one of them has seen.")
    blind_spots: list[str] = Field(description="What matters and all of them have missed.")


class UnusableError(MoAError):
    """A judge's reply can't be used."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One question to the aggregator on the way to the answer."""

    name: str
    texts: Sequence[str]
    """The references that it is about."""

    render: Render
    schema: type[BaseModel] | None = None
    """What it is answered with; `None`: a text."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the answer comes about."""

    by: Mode
    winner: Reference | None = None
    """Its text is the answer; `None`: the aggregator writes it."""

    texts: Sequence[str] = ()
    """What the aggregator writes it from."""

    render: Render = paper
    account: Mapping[str, Any] = field(default_factory=dict)
    """What the answer's metadata says about it."""

    degraded: Sequence[Mapping[str, Any]] = ()


Plan = Generator[Step, Any, Outcome]
"""Yields steps, is sent what they are answered with, and has the error thrown in of one that failed."""


def plan(how: Aggregation, references: Sequence[Reference], complete: Sequence[Reference]) -> Plan:
    """Return the plan that leads from a layer's references to the answer.

    Args:
        how: The mixture's way.
        references: In the order in which they are shown.
        complete: Those among them that were not cut off.
    """
    ways: dict[Mode, Callable[[], Plan]] = {
        "synthesize": partial(_synthesize, how, references),
        "select": partial(_select, how, references, complete),
        "vote": partial(_vote, how, references, complete),
        "analyze": partial(_analyze, how, references),
    }
    # Without any reference the aggregator answers alone.
    return ways[how.mode if references else "synthesize"]()


def _synthesize(how: Aggregation, references: Sequence[Reference], **outcome: Any) -> Plan:
    """Have the aggregator read all references, or window by window, as Self-MoA-Seq does (arXiv:2502.00674)."""
    texts = [reference["content"] for reference in references]
    number = 0
    while how.window is not None and len(texts) > how.window:
        number += 1
        best = yield Step(name=f"pass_{number}", texts=texts[: how.window], render=how.render)
        texts = [best] * how.reserve + texts[how.window :]
    return Outcome(**{"by": "synthesize", "texts": texts, "render": how.render, **outcome})


def _select(how: Aggregation, references: Sequence[Reference], complete: Sequence[Reference]) -> Plan:
    if not complete:
        return (yield from _instead(how, references, reason="no_complete_candidate"))
    if len(complete) == 1:
        return Outcome(by="select", winner=complete[0], account=_selected(complete[0], "the only candidate"))
    try:
        best, reason = yield from _ask_judge(complete, name="select")
        if how.debias:
            other, _ = yield from _ask_judge(complete[::-1], name="select_reversed")
            if other is not best:
                return (yield from _instead(how, references, reason="verdicts_disagree"))
    except Exception as error:
        return (yield from _instead(how, references, reason="verdict_unusable", error=error))
    return Outcome(by="select", winner=best, account=_selected(best, reason))


def _ask_judge(candidates: Sequence[Reference], *, name: str) -> Generator[Step, Any, tuple[Reference, str]]:
    texts = [candidate["content"] for candidate in candidates]
    verdict: Verdict = yield Step(name=name, texts=texts, render=to_select, schema=verdict_among(len(candidates)))
    return candidates[verdict.best - 1], verdict.reason


def _selected(reference: Reference, reason: str) -> dict[str, Any]:
    return {"selected": {"proposer": reference["proposer"], "reason": reason}}


def _vote(how: Aggregation, references: Sequence[Reference], complete: Sequence[Reference]) -> Plan:
    answers = [answer_of(reference["content"], how.answer_key) for reference in complete]
    ballot = Ballot(len(answers))
    for answer in answers:
        ballot.cast(answer)
    votes = {str(answer): count for answer, count in ballot.votes.most_common()}
    if (winner := ballot.winner) is None:
        reason = "vote_tied" if votes else "vote_without_answer"
        return (yield from _instead(how, references, reason=reason, account={"vote": {"votes": votes}}))
    voice = complete[answers.index(winner)]
    vote = {"votes": votes, "answer": str(winner), "proposer": voice["proposer"]}
    return Outcome(by="vote", winner=voice, account={"vote": vote})


def _analyze(how: Aggregation, references: Sequence[Reference]) -> Plan:
    texts = [reference["content"] for reference in references]
    try:
        analysis: Analysis = yield Step(name="analyze", texts=texts, render=to_analyze, schema=Analysis)
    except Exception as error:
        return (yield from _instead(how, references, reason="analysis_unusable", error=error))
    render = with_analysis(how.render, analysis.model_dump_json(indent=1))
    return Outcome(by="analyze", texts=texts, render=render, account={"analysis": analysis.model_dump()})


def _instead(
    how: Aggregation,
    references: Sequence[Reference],
    *,
    reason: str,
    error: Exception | None = None,
    account: Mapping[str, Any] | None = None,
) -> Plan:
    """Synthesize after all, and say why."""
    why: dict[str, Any] = {"reason": reason}
    if error is not None:
        why["error"] = describe(error)
    return (yield from _synthesize(how, references, account=account or {}, degraded=[why]))
