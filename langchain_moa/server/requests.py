"""Parse the body of a request into messages and call-time arguments of the aggregator."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers

from langchain_moa.server.api_errors import ApiError, malformed
from langchain_moa.server.body import parse_json
from langchain_moa.server.overrides import Overrides

# Parameters of OpenAI's or Together's API that are not supported, and why.
_UNSUPPORTED = {
    "audio": "a mixture answers in text only",
    "context_length_exceeded_behavior": "references are always trimmed to the aggregator's context window",
    "echo": "prompts are not echoed",
    "function_call": "use tool_choice instead",
    "functions": "use tools instead",
    "moderation": "this server has no moderation",
    "prediction": "the aggregator writes its answer from the references",
    "prompt": "use messages instead",
    "safety_model": "this server has no moderation",
    "web_search_options": "give tools to the mixture's proposers instead",
}
# Other message fields belong to responses, and clients send them back unchanged; they are ignored.
_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id")
_BLOCKS = ("text", "image_url", "file", "refusal")

# A small body can be expensive to process, which blocks the event loop for everyone.
_MAX_MESSAGES = 2048
_MAX_PARTS = 2048
_MAX_TOOLS = 128


class Sampling(BaseModel):
    """Request fields that are passed to the aggregator under the same name."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None


class ProviderSampling(BaseModel):
    """Request fields of Together and llama.cpp beyond OpenAI's, passed on in `extra_body`."""

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class Completion(Overrides, Sampling, ProviderSampling):
    """The body of `POST /v1/chat/completions`. `null` means not given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(max_length=256)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=_MAX_MESSAGES)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=_MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    n: int | None = None
    modalities: list[str] | None = None
    store: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool((self.stream_options or {}).get("include_usage"))

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
            ApiError: A message is malformed or has unsupported content.
        """
        return [_to_message(place, message) for place, message in enumerate(self.messages)]


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
    contents = (message.get("content") for message in asked.messages)
    if (parts := sum(len(content) for content in contents if isinstance(content, list))) > _MAX_PARTS:
        text = f"messages have {parts} content parts; this server takes {_MAX_PARTS}."
        raise _invalid("messages", text, code="invalid_value")
    if asked.n not in (None, 1):
        raise _invalid("n", f"n is {asked.n}; a mixture gives one answer, ask {asked.n} times.")
    if asked.modalities not in (None, ["text"]):
        raise _invalid("modalities", f"modalities is {asked.modalities!r}; a mixture answers in text only.")
    if asked.store:
        raise _invalid("store", "store is not supported: nothing is kept here.")
    if not asked.tools and asked.tool_arguments():
        param = next(iter(asked.tool_arguments()))
        raise _invalid(param, f"{param} needs tools.", code="invalid_value")
    for place, tool in enumerate(asked.tools or []):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
            raise _invalid(f"tools.{place}", f"tools.{place} must be a function with a name.", code="invalid_value")


def _to_message(place: int, message: dict[str, Any]) -> BaseMessage:
    where = f"messages.{place}"
    content = message.get("content")
    for block in content if isinstance(content, list) else []:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _BLOCKS:
            known = ", ".join(_BLOCKS)
            raise _invalid(where, f"{where} has content of type {kind!r}; this server takes {known}.")
    if not isinstance(content, str | list | None):
        raise _invalid(where, f"{where}: content must be text or a list of content parts.", code="invalid_value")
    known_fields = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name) is not None}
    try:
        return convert_to_messages([{"content": "", **known_fields}])[0]
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        # LangChain adds a page of its documentation to some of them.
        reason = str(error).partition("\nFor troubleshooting")[0].strip()
        raise _invalid(where, f"{where} is malformed: {type(error).__name__}: {reason}", code="invalid_value") from None


def _invalid(param: str, message: str, *, code: str = "unsupported_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)
