"""The messages and arguments of one call: what is refused, and what they say of the answer's form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_moa._runtime.call_context import AnswerForm

ANSWER_FORM = "moa_answer_form"
"""Argument with which `bind_tools` and `with_structured_output` say what they bind."""


def take_answer_form(kwargs: dict[str, Any]) -> AnswerForm:
    """Take out of the arguments what the aggregator answers with, as `bind_tools` or `with_structured_output` said."""
    bound: AnswerForm | None = kwargs.pop(ANSWER_FORM, None)
    if kwargs.get("tools"):
        return "tools"
    # Arguments of a call that were not bound by these two; in the request's body where the SDK is not to parse.
    if kwargs.get("response_format") or (kwargs.get("extra_body") or {}).get("response_format"):
        return "schema"
    return bound or "text"


def check_question(last: BaseMessage) -> None:
    """Refuse an empty question before it costs a call. Pictures, files and results of tools need no text.

    Raises:
        ValueError: The conversation ends with a message of the user that is empty.
    """
    blocks = last.content if isinstance(last.content, list) else [last.content]
    texts = [block if isinstance(block, str) else block.get("text") for block in blocks if _is_text(block)]
    if isinstance(last, HumanMessage) and len(texts) == len(blocks) and not "".join(filter(None, texts)).strip():
        msg = "The last message of the user is empty: give a question."
        raise ValueError(msg)


def _is_text(block: str | dict[str, Any]) -> bool:
    return isinstance(block, str) or block.get("type") == "text"


def check_call(kwargs: Mapping[str, Any], *, of_mixture: Collection[str]) -> None:
    """Refuse options of the mixture among the arguments of a call, which are the aggregator's.

    Raises:
        ValueError: There is one.
    """
    if (option := next((name for name in kwargs if name in of_mixture), None)) is not None:
        value = kwargs[option]
        example = f"{option}={value!r}" if isinstance(value, str | int | float) else f"{option}=..."
        msg = (
            f"{option} is an option of the mixture, not of a call: write ChatMoA(..., {example}), or assign it: "
            f"model.{option} = ..."
        )
        raise ValueError(msg if option != "api_key" else msg.replace(example, "api_key=..."))
