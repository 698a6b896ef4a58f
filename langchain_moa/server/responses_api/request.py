"""Parse the body of a request for a response into a chat completion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from langchain_moa.server.api_errors import ApiError, malformed
from langchain_moa.server.requests import Completion, Positive, check
from langchain_moa.server.responses_api.input_items import Item, to_messages

_NOT_SUPPORTED = {
    "background": "nothing is stored here; keep the connection open, or stream",
    "context_management": "send a shorter input instead",
    "conversation": "nothing is stored here; send the whole conversation as input",
    "moderation": "this server has no moderation",
    "previous_response_id": "nothing is stored here; send the whole conversation as input",
    "prompt": "nothing is stored here; send instructions and input",
}
RENAMED = {
    "logprobs": "include, with message.output_text.logprobs",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""The fields of chat completions that have another name in this API."""

_LOGPROBS = "message.output_text.logprobs"


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class PlainFormat(_Fields):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]

    def to_chat(self) -> dict[str, Any]:
        """Return the `response_format` of a chat completion."""
        return {"type": self.type}


class SchemaFormat(_Fields):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: str
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None

    def to_chat(self) -> dict[str, Any]:
        """Return the `response_format` of a chat completion."""
        return {"type": self.type, "json_schema": self.model_dump(by_alias=True, exclude_none=True, exclude={"type"})}


class TextOptions(_Fields):
    """How the text is written."""

    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: str | None = None


class ReasoningOptions(_Fields):
    """How much the aggregator reasons. Its reasoning is not returned, so summaries have no effect."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class FunctionTool(BaseModel):
    """A function that the client runs."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_function(cls, tool: Any) -> Any:
        if isinstance(tool, dict) and (kind := tool.get("type")) != "function":
            msg = (
                f"Tools of type {kind!r} are not supported: no tools run on this server. "
                "Send tools of type 'function', and run their calls in your program."
            )
            raise ValueError(msg)
        return tool

    def to_chat(self) -> dict[str, Any]:
        """Return the tool of a chat completion."""
        return {"type": "function", "function": self.model_dump(exclude_none=True, exclude={"type"})}


class Mode(_Fields):
    """Whether functions may be called."""

    type: Literal["none", "auto", "required"]


class FunctionChoice(_Fields):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class AllowedTools(_Fields):
    """The functions that may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FunctionChoice] = Field(min_length=1)


def _as_choice(given: Any) -> Any:
    return {"type": given} if isinstance(given, str) else given


def _as_items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


_Choice = Annotated[Mode | FunctionChoice | AllowedTools, Field(discriminator="type")]
_ToolChoice = Annotated[_Choice, BeforeValidator(_as_choice, json_schema_input_type=str | _Choice)]
_Items = Annotated[list[Item], BeforeValidator(_as_items, json_schema_input_type=str | list[Item])]


class ResponseRequest(BaseModel):
    """The body of `POST /v1/responses`. Other fields are those of chat completions."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    input: _Items = Field(min_length=1)
    instructions: str | None = None
    tools: list[FunctionTool] = []
    tool_choice: _ToolChoice | None = None
    text: TextOptions = TextOptions()
    reasoning: ReasoningOptions = ReasoningOptions()
    max_output_tokens: Positive | None = None
    include: list[str] = []
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: Any = Field(default=None, description="Taken without effect: it limits OpenAI's own tools.")

    def to_chat(self) -> dict[str, Any]:
        """Return the fields of a chat completion."""
        messages = to_messages(self.input)
        if self.instructions:
            messages.insert(0, {"role": "system", "content": self.instructions})
        fields = {
            **(self.model_extra or {}),
            "messages": messages,
            "max_completion_tokens": self.max_output_tokens,
            "reasoning_effort": self.reasoning.effort,
            "verbosity": self.text.verbosity,
            "response_format": self.text.format and self.text.format.to_chat(),
            "logprobs": _LOGPROBS in self.include or None,
            **self._tools(),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _tools(self) -> dict[str, Any]:
        tools, choice = self.tools, self.tool_choice
        if isinstance(choice, AllowedTools):
            names = {tool.name for tool in choice.tools}
            tools, choice = [tool for tool in tools if tool.name in names], Mode(type=choice.mode)
        chosen: Any = choice and choice.type
        if isinstance(choice, FunctionChoice):
            chosen = {"type": "function", "function": {"name": choice.name}}
        return {"tools": [tool.to_chat() for tool in tools], "tool_choice": chosen}

    def ignored(self) -> list[str]:
        """Return the names of the fields that have no effect."""
        fields = {
            "include": set(self.include) - {_LOGPROBS},
            "max_tool_calls": self.max_tool_calls,
            "reasoning.summary": self.reasoning.summary or self.reasoning.generate_summary,
            "truncation": self.truncation == "auto",
        }
        return [name for name, value in fields.items() if value]


def parse(fields: dict[str, Any], *, allow_overrides: bool) -> tuple[ResponseRequest, Completion]:
    """Validate a request, and convert it to a chat completion.

    Args:
        fields: The JSON of the request.
        allow_overrides: Whether requests may change the mixture.

    Raises:
        ApiError: A field is unknown, unsupported or invalid; the message names it.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name in RENAMED:
            text = f"{name} is not supported here: use {RENAMED[name]} instead."
            raise ApiError(400, text, code="unsupported_parameter", param=name)
    for name, why in _NOT_SUPPORTED.items():
        if given.pop(name, None):
            text = f"{name} is not supported: {why}."
            raise ApiError(400, text, code="unsupported_parameter", param=name)
    try:
        asked = ResponseRequest.model_validate(given)
    except ValidationError as error:
        raise malformed(error, given) from None
    return asked, check(asked.to_chat(), allow_overrides=allow_overrides)
