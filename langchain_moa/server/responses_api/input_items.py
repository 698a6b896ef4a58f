"""Convert the input items of a response to the messages of a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from langchain_moa.server.requests import invalid, malformed

_STORED = "nothing is stored here; send the item itself (AI SDK: providerOptions {openai: {store: false}})"


class _Input(BaseModel):
    # Clients send output items back unchanged; their ids, statuses and annotations are of no use here.
    model_config = ConfigDict(strict=True, extra="ignore")


class Text(_Input):
    """Text of the user or of the assistant."""

    type: Literal["input_text", "output_text"]
    text: str

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        return {"type": "text", "text": self.text}


class Refusal(_Input):
    """What the assistant refused with."""

    type: Literal["refusal"]
    refusal: str

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        return {"type": "refusal", "refusal": self.refusal}


class _Media(_Input):
    @model_validator(mode="before")
    @classmethod
    def _is_in_the_request(cls, part: dict[str, Any]) -> dict[str, Any]:
        if named := next((name for name in ("file_id", "file_url") if part.get(name)), None):
            msg = f"{named} is not supported: no files are stored or fetched here; send image_url or file_data."
            raise ValueError(msg)
        return part


class Image(_Media):
    """An image, by its URL or as a `data:` URL."""

    type: Literal["input_image"]
    image_url: str
    detail: str | None = None

    def to_chat(self) -> dict[str, Any]:
        """Return the content part of a chat completion."""
        detail = {"detail": self.detail} if self.detail else {}
        return {"type": "image_url", "image_url": {"url": self.image_url, **detail}}


class File(_Media):
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


_Parts = Annotated[
    list[Annotated[Text | Refusal | Image | File, Field(discriminator="type")]], BeforeValidator(_as_parts)
]


class Message(_Input):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: _Parts

    def to_chat(self) -> dict[str, Any]:
        """Return the message of a chat completion."""
        # The role `developer` is OpenAI's alone.
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": [part.to_chat() for part in self.content]}


class FunctionCall(_Input):
    """A call of a tool by the assistant."""

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

    call_id: str
    output: _Parts

    def to_chat(self) -> dict[str, Any]:
        """Return the message of a chat completion."""
        content = [part.to_chat() for part in self.output]
        return {"role": "tool", "tool_call_id": self.call_id, "content": content}


_ITEMS: dict[str, type[Message | FunctionCall | FunctionCallOutput]] = {
    "message": Message,
    "function_call": FunctionCall,
    "function_call_output": FunctionCallOutput,
}


def to_messages(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of a chat completion. Reasoning is left out: it is of the model that wrote it.

    Raises:
        ApiError: An item is malformed or not supported; the message names it.
    """
    messages: list[dict[str, Any]] = []
    for place, item in enumerate(items):
        # Types are optional for messages and references.
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "reasoning":
            continue
        _append(messages, _to_message(place, kind, item))
    return [{**message, "content": _simplest(message["content"])} for message in messages]


def _to_message(place: int, kind: object, item: dict[str, Any]) -> dict[str, Any]:
    where = f"input.{place}"
    if kind == "item_reference":
        raise invalid(where, f"{where} is an item_reference, which is not supported: {_STORED}.")
    if not isinstance(kind, str) or kind not in _ITEMS:
        known = ", ".join([*_ITEMS, "reasoning"])
        raise invalid(where, f"{where} is an item of type {kind!r}; this server takes {known}.")
    try:
        return _ITEMS[kind].model_validate(item).to_chat()
    except ValidationError as error:
        raise malformed(error, "input", place) from None


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
