"""How a model's reply ended, as each provider's LangChain package reports it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from langchain_core.messages import BaseMessage

Ending = Literal["ok", "truncated", "filtered", "unknown"]
"""`ok`: by itself. `truncated`: it broke off. `filtered`: blocked or refused. `unknown`: the end was never reported."""

# Where packages put the reason, in `response_metadata` or, as langchain-cohere and ChatBedrock do, `additional_kwargs`.
_KEYS = (
    "finish_reason",  # OpenAI Chat, Together, Gemini, Mistral, Groq, Cohere, xAI, DeepSeek, Fireworks, OpenRouter
    "stop_reason",  # Anthropic, ChatBedrock
    "stopReason",  # ChatBedrockConverse
    "done_reason",  # Ollama
    "completionReason",  # Amazon Titan
    "native_finish_reason",  # OpenRouter: in the words of the provider behind it
    "amazon-bedrock-guardrailAction",
)

# Providers' words by what is in them, so that `IMAGE_SAFETY` or `ERROR_TOXIC` need no line of their own. From the API
# references of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Cohere, DeepSeek, xAI and OpenRouter.
_FILTERED = re.compile(
    r"filter|safety|guardrail|intervened|refus|prohibit|block|recitation|spii|toxic|sensitive|moderat|policy|armor"
    r"|^language$",
    re.IGNORECASE,
)
_TRUNCATED = re.compile(
    r"length|max_?(?:output_|new_)?(?:tokens|len|context)|limit|context_window|incomplete|truncat|pause_turn"
    r"|error|timeout|abort|cancel|fail|malformed|insufficient|unexpected|too_many|missing|^(?:image_)?other$|^load$",
    re.IGNORECASE,
)

# Gemini's and Bedrock's words for "no reason given", which are no reasons.
_NOT_GIVEN = frozenset({"", "0", "NONE", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})
_NOT_BLOCKED = _NOT_GIVEN | {"BLOCKED_REASON_UNSPECIFIED"}

# Who always reports the end of a stream, by `model_provider` of a message or `_llm_type` of a model. Not ChatBedrock
# ("bedrock", "amazon_bedrock_chat"), which reports it for Anthropic's models only.
_REPORTING = re.compile(
    r"openai|anthropic|google|vertexai|bedrock_converse|ollama|mistral|groq|cohere|xai|deepseek|fireworks|openrouter"
    r"|together",
)

# Chunks of a stream are merged by joining strings: a reason that comes with two chunks is `stopstop`.
_REPEATED = re.compile(r"(.+?)\1*", re.DOTALL)
_LONGEST_REASON = 200


def ending(message: Any, *, provider: str | None = None) -> Ending:
    """Return how a reply ended.

    - `truncated`: the token limit was reached, or the provider broke off (an error, a timeout, a paused turn).
    - `filtered`: a content filter or guardrail intervened, or the model refused.
    - `unknown`: the provider reports how its answers end, and this one has no end. That is what is left of a stream
      that was closed half-way.
    - `ok`: everything else. A reason in a word that nobody knows is a reason: servers have words of their own for a
      natural end (`eos`, `eosFound`). An empty reason in a complete response, which some OpenAI-compatible servers
      and ChatBedrock give, is no broken stream. What reports no ends at all (a fake, a plain Runnable, a string) has
      nothing to be missed.

    When a message reports several reasons, the worst one counts.

    Args:
        message: The reply; anything but a message is `ok`.
        provider: `_llm_type` of the model that replied. It matters for Ollama and Cohere only, whose chunks don't name
            their provider before the last one.
    """
    return end_of(message, provider=provider)[0]


def end_of(message: Any, *, provider: str | None = None) -> tuple[Ending, str | None]:
    """Return how a reply ended, see `ending`, and the reason in the provider's own word, if one was reported.

    When a message reports several reasons, it is the worst one.
    """
    if not isinstance(message, BaseMessage):
        return "ok", None
    if reasons := _reasons(message):
        if len(reasons) > 1:
            reasons.sort(key=lambda reason: _WORST_FIRST.index(_ending_of(reason)))
        return _ending_of(reasons[0]), reasons[0]
    if _is_whole(message):
        return "ok", None
    name = str(message.response_metadata.get("model_provider") or provider or "")
    return ("unknown" if _REPORTING.search(name) else "ok"), None


_WORST_FIRST: tuple[Ending, ...] = ("filtered", "truncated", "ok")


@cache
def _ending_of(reason: str) -> Ending:
    if _FILTERED.search(reason):
        return "filtered"
    return "truncated" if _TRUNCATED.search(reason) else "ok"


def _reasons(message: BaseMessage) -> list[str]:
    metadata = message.response_metadata
    told = [fields[key] for fields in (metadata, message.additional_kwargs) for key in _KEYS if key in fields]
    reasons = [word for reason in told if reason and (word := _word(reason)) not in _NOT_GIVEN]
    reasons += _of_responses_api(metadata)
    if _is_refusal(message):
        reasons.append("refusal")
    feedback = metadata.get("prompt_feedback")
    if isinstance(feedback, Mapping) and (blocked := _word(feedback.get("block_reason"))) not in _NOT_BLOCKED:
        reasons.append(f"blocked: {blocked}")
    if metadata.get("is_blocked") is True:  # ChatVertexAI
        reasons.append("blocked")
    return reasons


def _of_responses_api(metadata: Mapping[str, Any]) -> list[str]:
    details = metadata.get("incomplete_details")
    if isinstance(details, Mapping) and (reason := _word(details.get("reason"))) not in _NOT_GIVEN:
        return [reason]
    status = metadata.get("status")
    return [str(status)] if status in ("completed", "incomplete", "failed", "cancelled") else []


def _is_refusal(message: BaseMessage) -> bool:
    if message.additional_kwargs.get("refusal"):  # OpenAI Chat
        return True
    # The standard block of langchain-core 1.8, and of OpenAI Responses.
    if isinstance(message.content, str):
        return False
    return any(isinstance(block, dict) and block.get("type") == "refusal" for block in message.content)


def _is_whole(message: BaseMessage) -> bool:
    """Tell whether a message is complete although it has no reason."""
    if message.response_metadata.get("done") is True:  # Ollama before 0.1.40 has no `done_reason`
        return True
    # Streams add the key with the reason; whole responses always have it.
    return any(not fields.keys().isdisjoint(_KEYS) for fields in (message.response_metadata, message.additional_kwargs))


def _word(reason: Any) -> str:
    """Return a reason as text; enumerations by the name of the member."""
    if reason is None:
        return ""
    text = str(getattr(reason, "name", reason))[:_LONGEST_REASON]
    once = _REPEATED.fullmatch(text)
    return once[1] if once else text
