"""The published prompts, and how references are put into a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

# Source: arXiv:2406.04692 table 1; togethercomputer/MoA, utils.py::inject_references_to_messages. Byte for byte.
AGGREGATE_AND_SYNTHESIZE = (
    "You have been provided with a set of responses from various open-source models to the latest user query. "
    "Your task is to synthesize these responses into a single, high-quality response. It is crucial to critically "
    "evaluate the information provided in these responses, recognizing that some of it may be biased or incorrect. "
    "Your response should not simply replicate the given answers but should offer a refined, accurate, and "
    "comprehensive reply to the instruction. Ensure your response is well-structured, coherent, and adheres to the "
    "highest standards of accuracy and reliability.\n\nResponses from models:"
)

# Our own wording, for what the paper does not have: agents with tools.
ADVISER = (
    "You advise an assistant that can call the tools below; you can't call any. Answer from what you know and see, "
    "say which tool calls you would make and why, and never claim to have made one.\n\nThe assistant's tools:\n"
)
ACT_ON_ADVICE = (
    "The responses below are advice from models that can't call tools. Call your tools whenever the task needs them, "
    "and trust their results over the advice.\n\n"
)
CONTINUE = "Give your best answer to the conversation so far."


def with_references(messages: Sequence[BaseMessage], references: Sequence[str]) -> list[BaseMessage]:
    """Put the Aggregate-and-Synthesize prompt and the references in front of a conversation, as the paper has it.

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
    return with_system(messages, _numbered(references))


def with_references_at_the_tail(
    messages: Sequence[BaseMessage], references: Sequence[str], *, has_tools: bool
) -> list[BaseMessage]:
    """Put the prompt and the references after a conversation, so that what is before them stays the same.

    Between two steps of an agent the conversation only grows: a provider's prompt cache then knows it already.

    Args:
        messages: The conversation. It is not changed.
        references: As in `with_references`.
        has_tools: Whether the reader can call tools, and is told to.
    """
    if not references:
        return list(messages)
    text = (ACT_ON_ADVICE if has_tools else "") + _numbered(references)
    if messages and isinstance(messages[-1], HumanMessage):
        return [*messages[:-1], _continued(messages[-1], text)]
    return [*messages, HumanMessage(text)]


def with_system(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Add `text` to the system message that opens a conversation, or open the conversation with one.

    Args:
        messages: The conversation. It is not changed.
        text: Appended after a blank line when there is a system message already.
    """
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(text), *messages]
    return [_continued(messages[0], text), *messages[1:]]


def _numbered(references: Sequence[str]) -> str:
    return AGGREGATE_AND_SYNTHESIZE + "".join(f"\n{number}. {text}" for number, text in enumerate(references, 1))


def _continued(message: BaseMessage, text: str) -> BaseMessage:
    if isinstance(message.content, str):
        content: str | list[Any] = f"{message.content}\n\n{text}"
    else:
        content = [*message.content, {"type": "text", "text": f"\n\n{text}"}]
    return message.model_copy(update={"content": content})
