"""The JSON of a response, before and after its output is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from langchain_core.messages.ai import UsageMetadata

# Request fields that a response repeats, with OpenAI's defaults.
_REPEATED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "user": None,
}


@dataclass(frozen=True, kw_only=True)
class ResponseObject:
    """Renders the JSON of one response."""

    asked: Mapping[str, Any]
    """The request's fields."""

    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time()))

    def render(self, status: str, output: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        """Return the response.

        Args:
            status: `in_progress`, `completed`, `incomplete` or `failed`.
            output: The output items.
            **fields: Further fields.
        """
        given = {name: value for name, value in self.asked.items() if value is not None}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": given["model"],
            "output": output,
            "previous_response_id": None,
            "store": False,
            "text": {"format": {"type": "text"}, **given.get("text", {})},
            "truncation": "disabled",
            "usage": None,
            **{name: given.get(name, default) for name, default in _REPEATED.items()},
            **fields,
        }


def to_usage(usage: UsageMetadata | None) -> dict[str, Any] | None:
    """Convert usage, summed over all calls of the mixture. `None`: no provider reported any."""
    if usage is None:
        return None
    read, written = usage.get("input_token_details", {}), usage.get("output_token_details", {})
    return {
        "input_tokens": usage["input_tokens"],
        "input_tokens_details": {
            "cached_tokens": read.get("cache_read", 0),
            "cache_write_tokens": read.get("cache_creation", 0),
        },
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning", 0)},
        "total_tokens": usage["total_tokens"],
    }
