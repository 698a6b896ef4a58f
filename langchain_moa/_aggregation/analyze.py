"""`analyze`: a judge compares the references before the aggregator writes the answer from them and the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from langchain_moa._aggregation.outcome import Ask, Outcome
from langchain_moa._messages.prompts import Render, to_analyze, with_analysis


class Analysis(BaseModel):
    """How the responses compare."""

    consensus: list[str] = Field(description="What all or most responses agree on.")
    contradictions: list[str] = Field(description="Where they contradict each other, and which side is right.")
    partial_coverage: list[str] = Field(description="What matters and only some of them cover.")
    unique_insights: list[str] = Field(description="What matters and only one of them has seen.")
    blind_spots: list[str] = Field(description="What matters and all of them have missed.")


async def analyze(
    ask: Ask,
    texts: Sequence[str],
    *,
    render: Render,
    criteria: str | None = None,
    degraded: Sequence[Mapping[str, Any]] = (),
) -> Outcome:
    """Have the references analyzed.

    Args:
        ask: Asks the judge for the analysis.
        texts: The references, in the order in which they are shown.
        render: How they are shown to the aggregator.
        criteria: What counts, in the user's words.
        degraded: What did not work before.

    Raises:
        Exception: The judge failed, or its reply can't be used.
    """
    analysis = await ask("analyze", texts, partial(to_analyze, criteria=criteria), Analysis)
    render = with_analysis(render, analysis.model_dump_json(indent=1))
    account = {"analysis": analysis.model_dump()}
    return Outcome(aggregation="analyze", references=texts, render=render, account=account, degraded=degraded)
