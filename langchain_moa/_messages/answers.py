"""From the aggregator's answer to the mixture's, with the usage of all calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult

from langchain_moa._messages.costs import calls_of

# The aggregator's alone, while the mixture's `usage_metadata` is the sum over all calls.
_OF_AGGREGATOR = ("token_usage", "usage")


def to_result(answer: AIMessage, model: str) -> ChatResult:
    """Return an aggregator's whole answer as the mixture's.

    Args:
        answer: With the account of all calls in its metadata.
        model: The mixture's name.
    """
    metadata = {**_without(answer.response_metadata, *_OF_AGGREGATOR), "model_name": model}
    usage = total_usage(metadata["moa"])
    update = {"id": None, "usage_metadata": usage, "response_metadata": metadata}
    message = answer.model_copy(update=update)
    return ChatResult(generations=[ChatGeneration(message=message)])


def to_chunk(item: AIMessage, model: str) -> ChatGenerationChunk:
    """Return a chunk of the aggregator, or at the end its whole answer, as a chunk of the mixture."""
    if isinstance(item, AIMessageChunk):
        # Names and the end of the message come once, with the last chunk: merging chunks joins strings.
        metadata = _without(item.response_metadata, *_OF_AGGREGATOR, "model_name", "moa")
        update = {"id": None, "chunk_position": None, "usage_metadata": None, "response_metadata": metadata}
        return ChatGenerationChunk(message=item.model_copy(update=update))
    moa = item.response_metadata["moa"]
    metadata = {"model_name": model, "moa": moa}
    usage = total_usage(moa)
    last = AIMessageChunk(content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last")
    return ChatGenerationChunk(message=last)


def total_usage(moa: Mapping[str, Any]) -> UsageMetadata | None:
    """Add up the calls in an answer's `response_metadata["moa"]`; providers that report nothing are passed over.

    Returns:
        Tokens in and out, with details; `None` when no provider reported anything.
    """
    return add_up(usage_of(call) for call in calls_of(moa))


def usage_of(call: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the usage of a call in an answer's `response_metadata["moa"]`; the gate's is told by model."""
    usage: Any = call.get("usage")
    return add_up(usage.values()) if "asked" in call else usage


def add_up(usages: Iterable[UsageMetadata | None]) -> UsageMetadata | None:
    """Return the sum of usages; `None` when there is none."""
    total: UsageMetadata | None = None
    for usage in usages:
        if usage:
            total = add_usage(total, usage)
    return total


def token_usage(result: LLMResult) -> dict[str, int]:
    """Return the tokens of all answers in OpenAI's words; none of those that came from a cache."""
    total: UsageMetadata | None = None
    for generation in (one for several in result.generations for one in several):
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            usage = generation.message.usage_metadata
            if usage and "total_cost" not in usage:  # core's mark of a cached answer (langchain-core 1.8)
                total = add_usage(total, usage)
    if total is None:
        return {}
    return {
        "prompt_tokens": total["input_tokens"],
        "completion_tokens": total["output_tokens"],
        "total_tokens": total["total_tokens"],
    }


def _without(metadata: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in names} if metadata else {}
