"""Convert the input items of a response to the messages of a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator

_TAKEN = ("message", "function_call", "function_call_output", "reasoning")


class _Input(BaseModel):
    # Clients send output items back unchanged; their ids, statuses and annotations are of no use here.
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class InputText(_Input):
    """Text of the user or of the assistant."""

    type: Literal["input_text", "output_text"]
    text: str

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        return {"type": "text", "text": self.text}


class InputRefusal(_Input):
    """What the assistant refused with."""

    type: Literal["refusal"]
    refusal: str

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        return {"type": "refusal", "refusal": self.refusal}


class _Media(_Input):
    file_id: None = None
    file_url: None = None

    @field_validator("file_id", "file_url", mode="before")
    @classmethod
    def _is_sent_along(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            msg = (
                f"{info.field_name} is not supported: no files are stored or fetched here; send image_url or file_data."
            )
            raise ValueError(msg)
        return value


class InputImage(_Media):
    """An image, by its URL or as a `data:` URL."""

    type: Literal["input_image"]
    image_url: str
    detail: str | None = None

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        detail = {"detail": self.detail} if self.detail else {}
        return {"type": "image_url", "image_url": {"url": self.image_url, **detail}}


class InputFile(_Media):
    """A file, as a `data:` URL."""

    type: Literal["input_file"]
    file_data: str
    filename: str | None = None

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        name = {"filename": self.filename} if self.filename else {}
        return {"type": "file", "file": {"file_data": self.file_data, **name}}


def _as_parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


_Part = Annotated[InputText | InputRefusal | InputImage | InputFile, Field(discriminator="type")]
_Parts = Annotated[list[_Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[_Part])]


class InputMessage(_Input):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: _Parts

    def to_chat(self) -> dict[str, Any]:
        """Return the message of a chat completion."""
        # The role `developer` is OpenAI's alone.
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": [part.to_chat() for part in self.content]}


class FunctionCall(_Input):
    """A call of a tool by the assistant."""

    type: Literal["function_call"]
    call_id: str
    name: str = Field(min_length=1)
    arguments: str

    def to_chat(self) -> dict[str, Any]:
        """Return the message of a chat completion."""
        function = {"name": self.name, "arguments": self.arguments or "{}"}
        return {
            "role": "assistant",
            "content": [],
            "tool_calls": [{"id": self.call_id, "type": "function", "function": function}],
        }


class FunctionCallOutput(_Input):
    """What a tool returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: _Parts

    def to_chat(self) -> dict[str, Any]:
        """Return the message of a chat completion."""
        content = [part.to_chat() for part in self.output]
        return {"role": "tool", "tool_call_id": self.call_id, "content": content}


class ReasoningItem(_Input):
    """The reasoning of a model, which is of use to that model alone."""

    type: Literal["reasoning"]

    def to_chat(self) -> None:
        """Return no message."""


def _kind(item: dict[str, Any]) -> Any:
    """Return the type of an item, which may be left out for messages and references."""
    return item.get("type") or ("message" if "role" in item else "item_reference")


def _check_kind(item: Any) -> Any:
    if not isinstance(item, dict):
        msg = "Input items must be objects."
        raise ValueError(msg)
    kind = _kind(item)
    if kind == "item_reference":
        msg = (
            "Input items of type 'item_reference' are not supported: nothing is stored here; send the item itself. "
            "The AI SDK does so with providerOptions: { openai: { store: false } }."
        )
        raise ValueError(msg)
    if kind not in _TAKEN:
        msg = f"Input items of type {kind!r} are not supported; this server takes {', '.join(_TAKEN)}."
        raise ValueError(msg)
    return item


Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
    BeforeValidator(_check_kind),
]


def to_messages(
    items: Sequence[InputMessage | FunctionCall | FunctionCallOutput | ReasoningItem],
) -> list[dict[str, Any]]:
    """Return the messages of a chat completion."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if message := item.to_chat():
            _append(messages, message)
    return [{**message, "content": _simplest(message["content"])} for message in messages]


def _append(messages: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Append a message. In chat completions, text and tool calls of one turn are one message."""
    last = messages[-1] if messages else {}
    is_one_turn = last.get("role") == message["role"] == "assistant"
    if is_one_turn and (calls := [*last.get("tool_calls", ()), *message.get("tool_calls", ())]):
        last |= {"content": [*last["content"], *message["content"]], "tool_calls": calls}
    else:
        messages.append(message)


def _simplest(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a single text as a string, which every provider takes."""
    if not content:
        return ""
    is_text = len(content) == 1 and content[0]["type"] == "text"
    return str(content[0]["text"]) if is_text else content
