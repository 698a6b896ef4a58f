"""Ready-made gates for `fan_out`, for questions that are not worth the proposers.

A gate is called with the conversation and returns whether the proposers are asked; without them the aggregator answers
alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from pydantic import BaseModel, Field

from langchain_moa._aggregation.outcome import UnusableReplyError
from langchain_moa._messages.conversation import adviser_view, reference_text
from langchain_moa._messages.endings import ending
from langchain_moa._messages.prompts import IS_IT_EASY, with_system
from langchain_moa._models.factory import build_model, without_streaming
from langchain_moa._models.members import Participant
from langchain_moa.answer_keys import AnswerKey, answer_of, final_answer

# What the call of a gate should take at most.
_MAX_TOKENS = 1024
_SECONDS = 30.0

SMALL_TALK = (
    *("hi", "hello", "hey", "good morning", "good afternoon", "good evening", "good night", "how are you", "what's up"),
    *("how is it going", "how's it going", "nice to meet you", "thank you", "thanks", "thx", "cheers", "many thanks"),
    *("ok", "okay", "got it", "great", "cool", "perfect", "awesome", "bye", "goodbye", "see you", "you're welcome"),
    *("there", "all", "everyone", "doing", "today", "later", "again", "so much", "very much", "a lot", "and"),
)
"""Phrases of which small talk in English is made."""


def unless_small_talk(messages: Sequence[BaseMessage], *, phrases: Iterable[str] = SMALL_TALK) -> bool:
    """Ask the proposers unless the user's last message is made of small talk alone: greetings, thanks, goodbyes.

    Args:
        messages: The conversation.
        phrases: In lower case. Give your own, by `functools.partial`, for another language than English.
    """
    said = " ".join(re.findall(r"[\w']+", _last_said(messages).lower().replace("\u2019", "'")))
    phrase = "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))
    return re.fullmatch(rf"(?:(?:{phrase})(?: |$))+", said) is None


def unless_short_follow_up(messages: Sequence[BaseMessage], *, characters: int = 40) -> bool:
    """Ask the proposers unless the user answers with fewer than `characters` characters to what was said before."""
    is_follow_up = any(isinstance(message, AIMessage) for message in messages)
    return not is_follow_up or len(_last_said(messages).strip()) >= characters


def unless_scouts_agree(
    first: str | Runnable[Any, Any], second: str | Runnable[Any, Any], *, answer_key: AnswerKey = final_answer
) -> Runnable[Any, bool]:
    """Return a gate that asks two cheap models first, and the proposers only when these don't agree.

    Published findings disagree on whether agreement is a reason to stop: arXiv:2606.03014 saves time by it, and
    arXiv:2605.29116 finds that a synthesis repairs answers on which all agreed. A scout that fails, says nothing or is
    cut off agrees with nobody.

    Args:
        first: A model string or a chat model.
        second: Another.
        answer_key: What a text answers; answers that it can't read agree with nothing.
    """
    scouts = {name: _scout(model, answer_key) for name, model in (("first", first), ("second", second))}
    return RunnableParallel(scouts) | RunnableLambda(_differ, name="differ")


def _scout(model: str | Runnable[Any, Any], answer_key: AnswerKey) -> Runnable[Any, Any]:
    """Return who answers a conversation with what its text comes to, or with `None`."""
    read = RunnableLambda(partial(_read, answer_key=answer_key), name="answer_key")
    asked: Runnable[Any, Any] = without_streaming(_built(model)) | read
    return RunnableLambda(partial(adviser_view, tools=())) | asked.with_fallbacks([RunnableLambda(_nothing)])


class Difficulty(BaseModel):
    """How hard it is to answer the user's latest message well."""

    is_easy: bool = Field(description="Whether one capable model alone would almost certainly answer it well.")


def unless_easy(model: str | Runnable[Any, Any]) -> Runnable[Any, bool]:
    """Return a gate that asks a cheap model first, and the proposers unless it says that the question is easy.

    It is one call, with a schema. When it fails, or its reply can't be used, the proposers are asked and the answer's
    metadata names the failure in `degraded`. What the call used is in `response_metadata["moa"]["gate"]["usage"]`, by
    model name, and in the answer's `usage_metadata`.

    Args:
        model: A model string, or a chat model whose `with_structured_output` works.

    Raises:
        ValueError: The model takes no schema.
    """
    asked = Participant.of(without_streaming(_built(model)))
    try:
        structured: Runnable[Any, Any] = asked.model.with_structured_output(Difficulty)  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError):
        msg = f"{asked.model_name!r} can't answer in a schema: give unless_easy a chat model that can."
        raise ValueError(msg) from None
    show = RunnableLambda(partial(_to_grade, reader=asked), name="show")
    decide: Runnable[Any, bool] = structured | RunnableLambda(_is_hard, name="is_hard")
    return show | decide.with_fallbacks([RunnableLambda(_ask_them)])


def _to_grade(messages: Sequence[BaseMessage], *, reader: Participant) -> list[BaseMessage]:
    return with_system(reader.sees(adviser_view(messages, ())), IS_IT_EASY)


def _is_hard(reply: Any) -> bool:
    if not isinstance(reply, Difficulty):
        msg = "it does not fit the schema"
        raise UnusableReplyError(msg)
    return not reply.is_easy


def _ask_them(_: Any) -> bool:
    return True


def _built(model: str | Runnable[Any, Any]) -> Runnable[Any, Any]:
    if isinstance(model, str):
        return build_model(model, temperature=None, max_tokens=_MAX_TOKENS, timeout=_SECONDS)
    return model


def _read(reply: Any, *, answer_key: AnswerKey) -> Any:
    return answer_of(reference_text(reply), answer_key) if ending(reply) == "ok" else None


def _nothing(_: Any) -> None:
    return None


def _differ(answers: dict[str, Any]) -> bool:
    return answers["first"] is None or answers["first"] != answers["second"]


def _last_said(messages: Sequence[BaseMessage]) -> str:
    return next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
