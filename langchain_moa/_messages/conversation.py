"""What a model sees of a conversation, and what the others see of its answer.

Proposers are advisers: they have no tools, so that they see tool calls and results as text, and their own calls are
shown as text and never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_moa._messages.prompts import ADVISER, CONTINUE, with_system

# A block may never be closed, and some models' templates open it for them. In backticks, an answer speaks of the tag.
_THINKING = re.compile(
    r"(?<!`)<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?:(?!<think).)*</think(?:ing)?>", re.DOTALL | re.IGNORECASE
)

_TAG = re.compile("</?think", re.IGNORECASE)

# Which input of a model's profile a content block needs.
_INPUT_OF_BLOCK = {
    "image": "image_inputs",
    "image_url": "image_inputs",
    "audio": "audio_inputs",
    "input_audio": "audio_inputs",
    "video": "video_inputs",
    "file": "pdf_inputs",
}


def reference_text(reply: BaseMessage) -> str:
    """Return what others see of a proposer's reply: its text, without reasoning, and its tool calls as text."""
    text: str = reply.text
    if _TAG.search(text):  # the whole pattern takes a hundred times as long on a long answer
        text = _THINKING.sub("", text)
    # A lone surrogate, which JSON can carry, can't be sent on: it has no UTF-8 form.
    text = text.encode("utf-8", "replace").decode("utf-8").strip()
    return "\n".join(filter(None, [text, *_calls_as_text(reply)]))


def is_cut_off(reply: BaseMessage) -> bool:
    """Tell whether a reply ended because it may have no more tokens."""
    return finish_reason(reply) in ("length", "max_tokens")


def finish_reason(reply: BaseMessage) -> str | None:
    """Return why a provider says that a reply ended."""
    reason: str | None = reply.response_metadata.get("finish_reason") or reply.response_metadata.get("stop_reason")
    return reason


def adviser_view(messages: Sequence[BaseMessage], tools: Sequence[Any]) -> list[BaseMessage]:
    """Return a conversation as a proposer sees it; a plain one is returned as it is.

    Args:
        messages: The conversation. It is not changed.
        tools: Schemas of the tools that the aggregator has, as a provider takes them; may be empty.

    Returns:
        No tool calls and no tool messages; user and assistant take turns; the last turn is the user's and not empty.
            Providers answer 400 to a conversation that is otherwise.
    """
    turns: list[BaseMessage] = []
    for message in map(_without_tools, messages):
        if _is_empty(message):
            continue
        if turns and type(turns[-1]) is type(message) and isinstance(message, HumanMessage | AIMessage):
            turns[-1] = _joined(turns[-1], message)
        else:
            turns.append(message)
    if not turns or not isinstance(turns[-1], HumanMessage):
        turns.append(HumanMessage(CONTINUE))
    if not tools:
        return turns
    catalogue = "\n".join(f"- {name}: {description}" for name, description in map(_name_and_description, tools))
    return with_system(turns, ADVISER + catalogue)


def fitting_content(messages: Iterable[BaseMessage], profile: Mapping[str, Any] | None) -> list[BaseMessage]:
    """Replace the images and files that a model does not take by a short placeholder.

    Args:
        messages: The conversation. It is not changed.
        profile: The model's. What it does not mention is passed on.
    """
    refused = {block for block, needs in _INPUT_OF_BLOCK.items() if (profile or {}).get(needs) is False}
    return [_with_placeholders(message, refused) for message in messages] if refused else list(messages)


def _without_tools(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        name = f" of {message.name}" if message.name else ""
        failed = " (failed)" if message.status == "error" else ""
        return HumanMessage(f"[tool result{name}{failed}: {_as_text(message)}]")
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        return AIMessage("\n".join(filter(None, [message.text, *_calls_as_text(message)])))
    if isinstance(message, AIMessage) and not isinstance(message.content, str):
        return AIMessage(message.text)
    return message


def _calls_as_text(message: BaseMessage) -> list[str]:
    if not isinstance(message, AIMessage):
        return []
    calls = [f"{call['name']}({json.dumps(call['args'], ensure_ascii=False)})" for call in message.tool_calls]
    calls += [f"{call['name']}({call['args']})" for call in message.invalid_tool_calls]
    return [f"[called tool: {call}]" for call in calls]


def _as_text(message: BaseMessage) -> str:
    """Return a message's content as text, with placeholders: base64 is never put into a prompt."""
    return _with_placeholders(message, set(_INPUT_OF_BLOCK)).text


def _with_placeholders(message: BaseMessage, refused: set[str]) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    content = [
        {"type": "text", "text": f"[{block['type'].removesuffix('_url').removeprefix('input_')} left out]"}
        if isinstance(block, dict) and block.get("type") in refused
        else block
        for block in message.content
    ]
    return message.model_copy(update={"content": content})


def _is_empty(message: BaseMessage) -> bool:
    if isinstance(message.content, str):
        return not message.content.strip()
    return all(isinstance(block, dict) and block.get("type") == "text" for block in message.content) and not (
        message.text.strip()
    )


def _joined(first: BaseMessage, second: BaseMessage) -> BaseMessage:
    if isinstance(first.content, str) and isinstance(second.content, str):
        return first.model_copy(update={"content": f"{first.content}\n\n{second.content}"})
    return first.model_copy(update={"content": [*_blocks(first), *_blocks(second)]})


def _blocks(message: BaseMessage) -> list[Any]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return message.content


def _name_and_description(tool: Any) -> tuple[str, str]:
    schema = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(schema.get("name") or schema.get("type") or tool), str(schema.get("description") or "")
