"""The published prompts, and how references are put into a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage, SystemMessage

# Source: arXiv:2406.04692 table 1; togethercomputer/MoA, utils.py::inject_references_to_messages. Byte for byte.
AGGREGATE_AND_SYNTHESIZE = (
    "You have been provided with a set of responses from various open-source models to the latest user query. "
    "Your task is to synthesize these responses into a single, high-quality response. It is crucial to critically "
    "evaluate the information provided in these responses, recognizing that some of it may be biased or incorrect. "
    "Your response should not simply replicate the given answers but should offer a refined, accurate, and "
    "comprehensive reply to the instruction. Ensure your response is well-structured, coherent, and adheres to the "
    "highest standards of accuracy and reliability.\n\nResponses from models:"
)


def with_references(messages: Sequence[BaseMessage], references: Sequence[str]) -> list[BaseMessage]:
    """Put the Aggregate-and-Synthesize prompt and the references in front of a conversation.

    Args:
        messages: The conversation. It is not changed.
        references: The texts, in the order in which they are numbered from 1. None: the conversation as it is.

    Returns:
        The conversation with the prompt as its system message; a system message that is there already stays first
            and gets the prompt appended after a blank line. Source: togethercomputer/MoA,
            utils.py::inject_references_to_messages.
    """
    if not references:
        return list(messages)
    lines = [f"\n{number}. {text}" for number, text in enumerate(references, 1)]
    return with_system(messages, AGGREGATE_AND_SYNTHESIZE + "".join(lines))


def with_system(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Add `text` to the system message that opens a conversation, or open the conversation with one.

    Args:
        messages: The conversation. It is not changed.
        text: Appended after a blank line when there is a system message already.
    """
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(text), *messages]
    first = messages[0]
    if isinstance(first.content, str):
        content: str | list[str | dict[str, object]] = f"{first.content}\n\n{text}"
    else:
        content = [*first.content, {"type": "text", "text": f"\n\n{text}"}]
    return [first.model_copy(update={"content": content}), *messages[1:]]
