"""The messages of a chat completion: checked in full before any model is asked, and converted to LangChain's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from langchain_moa.server.body import load_object


class _Checked(BaseModel):
    # Other fields belong to responses, which clients send back unchanged; they are ignored.
    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Part(BaseModel):
    # Fields such as `detail` and `cache_control` are up to the provider.
    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)

    cache_control: dict[str, Any] | None = None


class TextPart(_Part):
    """A text."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """Where an image is: a URL, or a `data:` URL with the image itself."""

    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)

    url: str = Field(min_length=1)
    detail: str | None = None


class ImagePart(_Part):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class File(_Checked):
    """A file: its contents as a `data:` URL, or the id under which the provider has it."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Part):
    """A file."""

    type: Literal["file"]
    file: File


class RefusalPart(_Part):
    """What the assistant refused with."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[TextPart | ImagePart | FilePart | RefusalPart, Field(discriminator="type")]


def _check_arguments(text: str) -> str:
    if not text:
        return "{}"  # a call without arguments
    try:
        load_object(text, strict=False)
    except ValueError as error:
        msg = f"arguments must be a JSON object: {error}"
        raise ValueError(msg) from None
    return text


class Called(_Checked):
    """The function that the assistant called, and its arguments as a JSON object."""

    name: str = Field(min_length=1)
    arguments: Annotated[str, AfterValidator(_check_arguments)]


class ToolCall(_Checked):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: Called


def _form(content: Any) -> str | None:
    return "text" if isinstance(content, str) else "parts" if isinstance(content, list) else None


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Tag("parts")],
    Discriminator(
        _form, custom_error_type="content", custom_error_message="content must be text or a list of content parts"
    ),
]


class _Message(_Checked):
    content: Content | None = None
    name: str | None = None


class SystemMessage(_Message):
    """Instructions."""

    role: Literal["system", "developer"]


class UserMessage(_Message):
    """What the user said."""

    role: Literal["user"]


class AssistantMessage(_Message):
    """What the model answered before."""

    role: Literal["assistant"]
    tool_calls: list[ToolCall] | None = None


class ToolMessage(_Message):
    """What a tool returned."""

    role: Literal["tool"]
    tool_call_id: str


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


def to_langchain(message: SystemMessage | UserMessage | AssistantMessage | ToolMessage) -> BaseMessage:
    """Return a message as LangChain's."""
    fields = message.model_dump(exclude_none=True, exclude_defaults=True)
    return convert_to_messages([{"content": "", **fields}])[0]
