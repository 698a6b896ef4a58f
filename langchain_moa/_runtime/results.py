"""From the aggregator's answer to the mixture's."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_moa._messages.usage import total_usage
from langchain_moa._runtime.graph_run import GraphRun


def to_result(answer: AIMessage, run: GraphRun) -> ChatResult:
    """Return an aggregator's whole answer as the mixture's."""
    metadata = {**answer.response_metadata, "model_name": run.label}
    update = {"id": None, "usage_metadata": run.shown_usage(answer), "response_metadata": metadata}
    return ChatResult(generations=[ChatGeneration(message=answer.model_copy(update=update))])


def to_chunk(item: AIMessage, run: GraphRun) -> ChatGenerationChunk:
    """Return a chunk of the aggregator, or at the end its whole answer, as a chunk of the mixture."""
    if isinstance(item, AIMessageChunk):
        # Names and the end of the message are told once, in the last chunk: merging chunks adds strings up.
        metadata = {key: value for key, value in item.response_metadata.items() if key not in ("model_name", "moa")}
        update = {"id": None, "chunk_position": None, "usage_metadata": None, "response_metadata": metadata}
        return ChatGenerationChunk(message=item.model_copy(update=update))
    last = AIMessageChunk(
        content="",
        usage_metadata=run.shown_usage(item),
        response_metadata={"model_name": run.label, "moa": item.response_metadata["moa"]},
        chunk_position="last",
    )
    return ChatGenerationChunk(message=last)


def with_usage(chunk: AIMessageChunk) -> AIMessageChunk:
    """Add the sum over all calls to the chunk that carries their account.

    A stream's run manager is out of reach, so that its tracers must not see the sum: it comes after them.
    """
    moa = chunk.response_metadata.get("moa")
    return chunk if moa is None else chunk.model_copy(update={"usage_metadata": total_usage(moa)})
