"""The output items of a response, as they grow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4


@dataclass(kw_only=True)
class Part:
    """A content part of a message."""

    type: str
    """`output_text` or `refusal`."""

    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self.pieces)

    def render(self) -> dict[str, Any]:
        """Return the JSON."""
        if self.type == "refusal":
            return {"type": self.type, "refusal": self.text}
        return {"type": self.type, "annotations": [], "logprobs": self.logprobs, "text": self.text}


@dataclass(kw_only=True)
class OutputItem(ABC):
    """A part of the output."""

    id: str
    place: int
    """Its index in the output."""

    status: str = "in_progress"
    """Then `completed`, or `incomplete` if the answer was cut off in it."""

    @abstractmethod
    def render(self) -> dict[str, Any]:
        """Return the JSON."""


@dataclass(kw_only=True)
class OutputMessage(OutputItem):
    """The text of an answer."""

    id: str = field(default_factory=lambda: f"msg_{uuid4().hex}")
    parts: list[Part] = field(default_factory=list)

    def render(self) -> dict[str, Any]:
        """Return the JSON."""
        content = [part.render() for part in self.parts]
        return {"id": self.id, "type": "message", "status": self.status, "role": "assistant", "content": content}


@dataclass(kw_only=True)
class OutputCall(OutputItem):
    """A call of a function."""

    id: str = field(default_factory=lambda: f"fc_{uuid4().hex}")
    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The arguments so far, as JSON."""
        return "".join(self.pieces)

    def render(self) -> dict[str, Any]:
        """Return the JSON."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "arguments": self.arguments,
            "call_id": self.call_id,
            "name": self.name,
        }
