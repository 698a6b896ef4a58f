"""Which model judged: how a judgment records it, and how it is read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage

from langchain_moa.evals.types import Judgment


def judge_fields(reply: AIMessage) -> dict[str, Any]:
    """Return the field of a `Judgment` that says who judged, for `other_judge`. Empty: the judge's name is unknown."""
    name = reply.response_metadata.get("model_name") or reply.response_metadata.get("model")
    return {"judge": name} if isinstance(name, str) else {}


def judge_of(judgments: Sequence[Judgment]) -> str:
    """Return the name of the judge, or of the judges; `unknown`: no judgment names one."""
    return ", ".join(sorted({judgment.fields["judge"] for judgment in judgments if "judge" in judgment.fields})) or (
        "unknown"
    )
