"""Marks for prompt caches, which some providers know and others answer 400 to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool

_MARK = "cache_control"
# Of ChatBedrockConverse: a block of its own.
_POINT = "cachePoint"

# Who takes the marks, by `_llm_type`: Anthropic wherever it runs, and those that send them on to it. A mixture inside a
# mixture decides for its own models.
_TAKES_MARKS = re.compile(r"anthropic|bedrock|openrouter|litellm|^moa$")
_TAKES_POINTS = re.compile(r"bedrock|^moa$")


def for_provider(messages: Iterable[BaseMessage], provider: str | None) -> list[BaseMessage]:
    """Return a conversation without the prompt-cache marks that a provider does not take.

    Args:
        messages: The conversation. It is not changed; messages without marks are returned as they are.
        provider: `_llm_type` of the model that is asked. `None`, what is no chat model, gets everything.
    """
    marks, points = _refused(provider)
    return [_cleared(message, marks=marks, points=points) for message in messages]


def arguments_for_provider(arguments: Mapping[str, Any], provider: str | None) -> dict[str, Any]:
    """Return a call's arguments without the prompt-cache marks that a provider does not take.

    Args:
        arguments: By name, as they are bound or given at a call: `cache_control` itself and the marks in `tools` go.
        provider: As in `for_provider`.
    """
    if not _refused(provider)[0]:
        return dict(arguments)
    kept = {name: value for name, value in arguments.items() if name != _MARK}
    if kept.get("tools"):
        kept["tools"] = list(map(_cleared_tool, kept["tools"]))
    return kept


def _refused(provider: str | None) -> tuple[bool, bool]:
    if provider is None:
        return False, False
    return not _TAKES_MARKS.search(provider), not _TAKES_POINTS.search(provider)


def _cleared(message: BaseMessage, *, marks: bool, points: bool) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    content: list[Any] = [
        _cleared_block(block) if marks else block
        for block in message.content
        if not (points and isinstance(block, dict) and _POINT in (block.get("type"), *block))
    ]
    return message if content == message.content else message.model_copy(update={"content": content})


def _cleared_block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    kept = _without_mark(block)
    if isinstance(inside := kept.get("content"), list):  # a tool's result
        kept["content"] = list(map(_cleared_block, inside))
    return kept


def _cleared_tool(tool: Any) -> Any:
    if isinstance(tool, BaseTool):
        extras = tool.extras or {}
        return tool.model_copy(update={"extras": _without_mark(extras)}) if _MARK in extras else tool
    if not isinstance(tool, dict):
        return tool
    kept = _without_mark(tool)
    if isinstance(function := kept.get("function"), dict):
        kept["function"] = _without_mark(function)
    return kept


def _without_mark(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in fields.items() if key != _MARK}
    if isinstance(extras := kept.get("extras"), dict) and _MARK in extras:
        kept["extras"] = _without_mark(extras)
        if not kept["extras"]:
            del kept["extras"]
    return kept
