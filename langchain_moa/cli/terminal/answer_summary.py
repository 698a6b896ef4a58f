"""The summary below an answer: how it was made, calls, tokens, cost and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.terminal.text import counted, one_line

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata


def summarize(moa: Mapping[str, Any], seconds: float) -> list[str]:
    """Return the lines of the summary; the last one has calls, tokens, cost and time.

    Args:
        moa: The answer's `response_metadata["moa"]`.
        seconds: Wall-clock time.
    """
    return [*map(one_line, _came_about(moa)), _took(moa, seconds)]


def summarize_all(accounts: Sequence[Mapping[str, Any]]) -> str:
    """Return the calls, tokens and cost of several answers on one line."""
    from langchain_moa._messages.answers import add_up, total_usage
    from langchain_moa._messages.costs import calls_of, total_of

    parts = [counted(len(accounts), "answer"), counted(sum(map(_calls, accounts)), "call")]
    parts += _tokens(add_up(map(total_usage, accounts)))
    parts += _cost(total_of(call for moa in accounts for call in calls_of(moa)))
    return " · ".join(parts)


def _came_about(moa: Mapping[str, Any]) -> Iterator[str]:
    if selected := moa.get("selected"):
        yield ", ".join(filter(None, [f"selected: {selected['proposer']}", selected["reason"]]))
    if vote := moa.get("vote"):
        counts = ", ".join(f"{answer} ({count})" for answer, count in vote["votes"].items())
        yield f"votes: {counts or 'none'}" + (f", in the words of {vote['proposer']}" if "proposer" in vote else "")
    if analysis := moa.get("analysis"):
        yield "analysis: " + ", ".join(f"{len(points)} {name.replace('_', ' ')}" for name, points in analysis.items())
    for step in moa["degraded"]:
        if "proposer" not in step:  # those were shown as they ended
            about = (step[name] for name in ("skipped", "budget") if name in step)
            reason = ", ".join([step["reason"], *about]).replace("_", " ")
            yield f"{reason}: {step['error']}" if "error" in step else reason


def _took(moa: Mapping[str, Any], seconds: float) -> str:
    from langchain_moa._messages.answers import total_usage

    parts = [counted(_calls(moa), "call")]
    if usage := total_usage(moa):
        parts += [*_tokens(usage), *_cost(moa.get("cost"))]
    return " · ".join([*parts, f"{seconds:.1f} s"])


def _tokens(usage: UsageMetadata | None) -> Iterator[str]:
    if usage:
        yield f"{usage['input_tokens']:,} tokens in"
        yield f"{usage['output_tokens']:,} out"


def _cost(cost: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the cost as far as prices are known, and the models that have none."""
    if cost and cost["total"] is not None:
        yield "$" + f"{cost['total']:.6f}".rstrip("0").rstrip(".")
    if cost and cost["unpriced"]:
        yield f"no price: {', '.join(map(one_line, cost['unpriced']))}"


def _calls(moa: Mapping[str, Any]) -> int:
    """Count the model calls: proposers, judge or passes, and aggregator."""
    proposers = [call for layer in moa["layers"] for call in layer]
    asked = [call for call in proposers if call["status"] != "skipped" and not call.get("reused")]
    return len(asked) + len(moa.get("steps", ())) + (moa["aggregator"] is not None)
