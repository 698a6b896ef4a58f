"""`synthesize`: the aggregator writes the answer from the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_moa._aggregation.outcome import Ask, Outcome, UnusableReplyError, reason
from langchain_moa._messages.prompts import Render
from langchain_moa.state import Reference


async def synthesize(
    ask: Ask,
    references: Sequence[Reference],
    *,
    render: Render,
    window: int | None,
    reserve: int,
    account: Mapping[str, Any] | None = None,
    degraded: Sequence[Mapping[str, Any]] = (),
) -> Outcome:
    """Have the aggregator write the answer from all references, or window by window.

    Args:
        ask: Asks the aggregator for the synthesis of a window.
        references: In the order in which they are shown.
        render: How they are shown.
        window: Maximum number of references that one call sees; `None`: all.
        reserve: Places in the window that the synthesis of the previous passes takes.
        account: What the answer's metadata says of another way that was tried before.
        degraded: Why that did not work.
    """
    texts = [reference["content"] for reference in references]
    failed: list[Mapping[str, Any]] = []
    if window is not None and len(texts) > window:
        texts, failed = await in_passes(ask, texts, render=render, window=window, reserve=reserve)
    return Outcome(
        aggregation="synthesize",
        references=texts,
        render=render,
        account=account or {},
        degraded=[*degraded, *failed],
    )


async def in_passes(
    ask: Ask, texts: Sequence[str], *, render: Render, window: int, reserve: int
) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Aggregate window by window until what is left fits into one, as Self-MoA-Seq does (arXiv:2502.00674).

    Returns:
        The texts that are left, and what did not work: the references of a pass whose reply can't be used are kept.
    """
    left, kept, failed = list(texts), list[str](), list[Mapping[str, Any]]()
    number = 0
    while len(left) > window:
        number += 1
        step = f"pass_{number}"
        try:
            synthesis = await ask(step, left[:window], render)
        except UnusableReplyError as error:
            failed.append(reason("pass_unusable", error, step=step))
            kept, left = [*kept, *left[:window]], left[window:]
        else:
            left = [synthesis] * reserve + left[window:]
    return [*kept, *left], failed
