"""Parse the body of a request into messages and call-time arguments of the aggregator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers

from langchain_moa._runtime.call_arguments import check_question
from langchain_moa.server.api_errors import ApiError, malformed
from langchain_moa.server.body import parse_json
from langchain_moa.server.ignored import Ignored, ignored_fields
from langchain_moa.server.messages import Message, to_langchain
from langchain_moa.server.overrides import Overrides

# Parameters of OpenAI's or Together's API that are not supported, and why.
_UNSUPPORTED = {
    "audio": "a mixture answers in text only",
    "context_length_exceeded_behavior": "references are always trimmed to the aggregator's context window",
    "echo": "prompts are not echoed",
    "function_call": "use tool_choice instead",
    "functions": "use tools instead",
    "moderation": "this server has no moderation",
    "prompt": "use messages instead",
    "safety_model": "this server has no moderation",
    "web_search_options": "give tools to the mixture's proposers instead",
}

# A small body can be expensive to process, which blocks the event loop for everyone.
_MAX_MESSAGES = 2048
_MAX_PARTS = 2048
_MAX_TOOLS = 128


def _whole(number: Any) -> Any:
    # JSON has one kind of number: languages without integers send 100.0.
    return int(number) if isinstance(number, float) and number.is_integer() else number


# Of 64 bits, as providers take them.
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63), BeforeValidator(_whole)]
Positive = Annotated[int, Field(ge=1, lt=2**63), BeforeValidator(_whole)]


class Sampling(BaseModel):
    """Request fields that are passed to the aggregator under the same name."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: Whole | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | Whole | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), BeforeValidator(_whole)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None


class ProviderSampling(BaseModel):
    """Request fields of Together and llama.cpp beyond OpenAI's, passed on in `extra_body`."""

    top_k: Whole | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class Function(BaseModel):
    """A function that the aggregator may call."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """As a JSON schema."""
    strict: bool | None = None


class Tool(BaseModel):
    """A tool, of which this server knows functions."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["function"]
    function: Function


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None
    """Whether a stream ends with a usage chunk."""
    include_obfuscation: Any = Field(default=None, description="Taken without effect: there is no padding to hide.")
    continuous_usage_stats: Any = Field(default=None, description="Taken without effect: usage comes at the end.")


class Completion(Overrides, Sampling, ProviderSampling, Ignored):
    """The body of `POST /v1/chat/completions`. `null` means not given."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    model: str = Field(max_length=256)
    messages: list[Message] = Field(min_length=1, max_length=_MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = Field(default=None, max_length=_MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    stop: str | list[str] | None = None
    n: Whole | None = None
    modalities: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def arguments(self) -> dict[str, Any]:
        """Return the aggregator's call-time arguments, except tools, response format and provider-specific ones."""
        arguments = self.model_dump(include=set(Sampling.model_fields), exclude_none=True)
        if limit := self.max_completion_tokens or self.max_tokens:
            arguments["max_tokens"] = limit
        if self.stop:
            arguments["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        return arguments

    def provider_arguments(self) -> dict[str, Any]:
        """Return the provider-specific arguments, which OpenAI's SDK does not know."""
        return self.model_dump(include=set(ProviderSampling.model_fields), exclude_none=True)

    def tool_arguments(self) -> dict[str, Any]:
        """Return the further arguments of `bind_tools`."""
        return self.model_dump(include={"tool_choice", "parallel_tool_calls"}, exclude_none=True)

    def functions(self) -> list[dict[str, Any]]:
        """Return the tools as they were sent."""
        return [tool.model_dump(exclude_unset=True) for tool in self.tools or ()]

    def overrides(self) -> dict[str, Any]:
        """Return the options of the mixture that the request changes."""
        return self.model_dump(include=set(Overrides.model_fields), exclude_none=True)

    def trace_metadata(self) -> dict[str, str]:
        """Return metadata about the user for traces; it is not sent to providers."""
        users = self.model_dump(include={"user", "safety_identifier"}, exclude_none=True)
        return {**(self.metadata or {}), **users}

    def conversation(self) -> list[BaseMessage]:
        """Return the messages.

        Raises:
            ApiError: The question is empty.
        """
        messages = list(map(to_langchain, self.messages))
        try:
            check_question(messages[-1])
        except ValueError as error:
            raise _invalid("messages", f"messages: {error}", code="invalid_value") from None
        return messages

    def ignored(self) -> list[str]:
        """Return the names of the fields that have no effect."""
        without_tools = [] if self.tools else sorted(self.tool_arguments())
        others = sorted(self.stream_options.model_fields_set - {"include_usage"}) if self.stream_options else []
        return [*ignored_fields(self), *without_tools, *(f"stream_options.{name}" for name in others)]


def parse(body: bytes, headers: Headers, *, allow_overrides: bool) -> Completion:
    """Parse and validate a request.

    Raises:
        ApiError: The body is not JSON, or a field is unknown, unsupported or invalid; the message names it.
    """
    return check(parse_json(body, headers), allow_overrides=allow_overrides)


def check(fields: dict[str, Any], *, allow_overrides: bool) -> Completion:
    """Validate the fields of a request.

    Raises:
        ApiError: A field is unknown, unsupported or invalid; the message names it.
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    if unsupported := next(filter(_UNSUPPORTED.get, fields), None):
        text = f"{unsupported} is not supported: {_UNSUPPORTED[unsupported]}."
        raise _invalid(unsupported, text, code="unsupported_parameter")
    try:
        asked = Completion.model_validate(fields)
    except ValidationError as error:
        raise malformed(error, fields) from None
    _check_supported(asked)
    if (changes := asked.overrides()) and not allow_overrides:
        names = ", ".join(changes)
        text = f"{names}: requests can't change the mixture on this server unless it is started with --allow-overrides."
        raise _invalid(next(iter(changes)), text, code="overrides_not_allowed")
    return asked


def _check_supported(asked: Completion) -> None:
    if (parts := sum(len(message.content) for message in asked.messages if isinstance(message.content, list))) > (
        _MAX_PARTS
    ):
        text = f"messages have {parts} content parts; this server takes {_MAX_PARTS}."
        raise _invalid("messages", text, code="invalid_value")
    if asked.n not in (None, 1):
        raise _invalid("n", f"n is {asked.n}; a mixture gives one answer, ask {asked.n} times.")
    if asked.modalities not in (None, ["text"]):
        raise _invalid("modalities", f"modalities is {asked.modalities!r}; a mixture answers in text only.")
    if not asked.tools and asked.tool_choice not in (None, "auto", "none"):
        raise _invalid("tool_choice", "tool_choice needs tools.", code="invalid_value")


def _invalid(param: str, message: str, *, code: str = "unsupported_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)
