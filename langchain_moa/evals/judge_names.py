"""Which model judged: how a judgment records it, and how it is read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage

from langchain_moa.evals.types import Judgment


def judge_fields(reply: AIMessage) -> dict[str, Any]:
    """Return the `Judgment` field with the name of the judge model. Empty: the reply does not name it."""
    name = reply.response_metadata.get("model_name") or reply.response_metadata.get("model")
    return {"judge": name} if isinstance(name, str) else {}


def judge_of(judgments: Sequence[Judgment]) -> str:
    """Return the names of the judges, comma-separated; `unknown` if no judgment has one."""
    return ", ".join(sorted({judgment.fields["judge"] for judgment in judgments if "judge" in judgment.fields})) or (
        "unknown"
    )
