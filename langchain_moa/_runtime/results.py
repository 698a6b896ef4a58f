"""From the aggregator's answer to the mixture's."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_moa._messages.usage import total_usage
from langchain_moa._runtime.graph_run import GraphRun


def to_result(answer: AIMessage, run: GraphRun) -> ChatResult:
    """Return an aggregator's whole answer as the mixture's."""
    metadata = {**answer.response_metadata, "model_name": run.label}
    update = {"id": None, "usage_metadata": total_usage(metadata["moa"]), "response_metadata": metadata}
    return ChatResult(generations=[ChatGeneration(message=answer.model_copy(update=update))])


def to_chunk(item: AIMessage, run: GraphRun) -> ChatGenerationChunk:
    """Return a chunk of the aggregator, or at the end its whole answer, as a chunk of the mixture."""
    if isinstance(item, AIMessageChunk):
        # Names and the end of the message are told once, in the last chunk: merging chunks adds strings up.
        metadata = {key: value for key, value in item.response_metadata.items() if key not in ("model_name", "moa")}
        update = {"id": None, "chunk_position": None, "usage_metadata": None, "response_metadata": metadata}
        return ChatGenerationChunk(message=item.model_copy(update=update))
    moa = item.response_metadata["moa"]
    last = AIMessageChunk(
        content="",
        usage_metadata=total_usage(moa),
        response_metadata={"model_name": run.label, "moa": moa},
        chunk_position="last",
    )
    return ChatGenerationChunk(message=last)
