"""Trimming references so that they fit into the next model's window."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.utils.function_calling import convert_to_openai_tool

# Tokens are estimated, and the answer needs room too.
_SHARE_OF_WINDOW = 0.8
_USUAL_WINDOW = 131_072
_CUT = "\n[…]\n"

# As langchain-core counts, whose estimate is taken for what is not text.
_CHARS_PER_TOKEN = 4
_PER_MESSAGE = 5

# Measured on 30 kinds of text (prose, code, JSON, tables, LaTeX, base64, eight other languages, emoji) with the
# tokenizers of GPT-4, GPT-4o, Claude 2, DeepSeek-V3 and SmolLM2. None needs more than 1.25 times the estimate, which
# `_SHARE_OF_WINDOW` allows for, except for words made of random letters (twice as many).
_PER_LOWER_CASE_LETTER = 0.33
_PER_UPPER_CASE_LETTER = 0.55
_PER_BYTE_AFTER_THE_FIRST = 1.15
_PER_LINE = 0.3
_PER_OTHER_SPACE = 0.05
_LONGEST_WORD = 24
_LOWER = string.ascii_lowercase.encode()
_UPPER = string.ascii_uppercase.encode()
_LETTERS = frozenset(string.ascii_letters)


def estimate_tokens(text: str) -> int:
    """Return how many tokens a text takes at most, by an estimate that needs no tokenizer.

    Letters of words count by the share of a word that they are; digits, punctuation and the characters of words that
    no language has (longer than 24: base64, minified code) are a token each; a character outside ASCII counts by its
    UTF-8 bytes: about one token for Arabic or Cyrillic, two for Chinese, three for an emoji.

    Returns:
        At most the number of the text's UTF-8 bytes.
    """
    words = text.split()
    lengths = list(map(len, words))
    # No loop in Python where it can be avoided: a proposal may have many thousands of words.
    has_long = max(lengths, default=0) > _LONGEST_WORD
    long = [word for word in words if len(word) > _LONGEST_WORD] if has_long else []
    short = "".join(word for word in words if len(word) <= _LONGEST_WORD) if long else "".join(words)
    within = short.encode("ascii", "ignore")
    lower = len(within) - len(within.translate(None, _LOWER))
    upper = len(within) - len(within.translate(None, _UPPER))
    in_words = _PER_LOWER_CASE_LETTER * lower + _PER_UPPER_CASE_LETTER * upper + (len(within) - lower - upper)
    # A word of one letter is a whole token; in others the first letter's share is small.
    alone = (1 - _PER_LOWER_CASE_LETTER) * sum(map(_LETTERS.__contains__, words))
    in_long_words = sum(len(word.encode("ascii", "ignore")) for word in long)
    outside_ascii = _PER_BYTE_AFTER_THE_FIRST * (_bytes(text) - len(text))
    lines = text.count("\n")
    spaces = len(text) - sum(lengths) - lines
    between = _PER_LINE * lines + _PER_OTHER_SPACE * spaces
    return min(round(in_words + alone + in_long_words + outside_ascii + between + 0.5), _bytes(text))


def fit_references(
    texts: Sequence[str],
    *,
    beside: Sequence[BaseMessage],
    window: int | None,
    tools: Sequence[Any] = (),
    max_tokens: int | None = None,
) -> list[str]:
    """Trim the longest texts evenly until all of them fit beside a conversation; short ones stay whole.

    Args:
        texts: The references.
        beside: The conversation and the prompt, without the references.
        window: Tokens that the model takes; `None` when it does not say, which counts as 128k.
        tools: Tools that are bound to the model, or their schemas.
        max_tokens: Most tokens that the model may write, for which room is left; `None`: a fifth of the window. More
            than the window can't be part of it, and is not subtracted.

    Returns:
        As many texts. A trimmed one keeps its beginning and its end, where answers say what they conclude. The least
            that is left of one is the mark that stands where it was cut.
    """
    window = window or _USUAL_WINDOW
    room = int(window * _SHARE_OF_WINDOW)
    if max_tokens and max_tokens < window:
        room = min(room, window - max_tokens)
    room -= sum(map(_tokens_of_tool, tools))
    if sum(map(_bytes, texts)) <= room - _most_tokens(beside):
        return list(texts)  # nearly always, and without the price of an estimate
    estimates = list(map(_estimate_of_reference, texts))
    longest = _longest_allowed(estimates, max(room - _count(beside), 0))
    return [
        text if tokens <= longest else _cut(text, tokens=tokens, most=longest)
        for text, tokens in zip(texts, estimates, strict=True)
    ]


def _estimate_of_reference(text: str) -> int:
    return _kept_estimate(text) if len(text) <= _LONGEST_KEPT else estimate_tokens(text)


# All readers of a layer's references estimate the same texts. A few MB of them are kept at most.
_LONGEST_KEPT = 50_000
_kept_estimate = lru_cache(maxsize=64)(estimate_tokens)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _most_tokens(messages: Sequence[BaseMessage]) -> int:
    tokens = 0
    for message in messages:
        if not isinstance(message.content, str) or message.type not in ("system", "human"):
            return _count(messages)
        tokens += _bytes(message.content) + _PER_MESSAGE
    return tokens


def _count(messages: Sequence[BaseMessage]) -> int:
    return sum(map(_tokens_of_message, messages))


def _tokens_of_message(message: BaseMessage) -> int:
    if isinstance(message.content, str) and message.type in ("system", "human"):
        # What core's estimate looks at for plain text, without its price: it looks into every message.
        return estimate_tokens(message.content) + _PER_MESSAGE
    text = message.text + (str(message.tool_calls) if isinstance(message, AIMessage) and message.tool_calls else "")
    return count_tokens_approximately([message]) + max(estimate_tokens(text) - len(text) // _CHARS_PER_TOKEN, 0)


def _tokens_of_tool(tool: Any) -> int:
    schema = tool if isinstance(tool, dict) else convert_to_openai_tool(tool)
    return estimate_tokens(json.dumps(schema, ensure_ascii=False, default=str))


def _longest_allowed(lengths: Sequence[int], room: int) -> int:
    """Return the length to which texts are trimmed, so that all of them take `room`."""
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            return room // left
        room -= length
        left -= 1
    return max(lengths, default=0)


def _cut(text: str, *, tokens: int, most: int) -> str:
    """Cut out the middle of a text that takes `tokens`, so that it takes `most`."""
    keep = len(text)
    while keep > 0:
        keep = min(int(keep * most / tokens), keep - 1)  # tokens are not spread evenly: it may take several cuts
        cut = _without_middle(text, keep)
        if (tokens := estimate_tokens(cut)) <= most:
            return cut
    return _CUT


def _without_middle(text: str, keep: int) -> str:
    keep = max(keep - len(_CUT), 0)
    end, start = keep - keep // 2, len(text) - keep // 2
    # JSON can carry a pair of surrogates as two characters; half of one can't be sent.
    if 0 < end < len(text) and _is_pair(text[end - 1 : end + 1]):
        end -= 1
    if 0 < start < len(text) and _is_pair(text[start - 1 : start + 1]):
        start += 1
    return text[:end] + _CUT + text[start:]


def _is_pair(text: str) -> bool:
    return "\ud800" <= text[0] <= "\udbff" and "\udc00" <= text[-1] <= "\udfff"
