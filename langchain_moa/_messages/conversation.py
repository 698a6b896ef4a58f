"""What a model sees of a conversation, and what the others see of its answer.

Proposers are advisers: they have no tools, so that they see tool calls and results as text, and their own calls are
shown as text and never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_moa._messages.blocks import as_text, needed_input, placeholder, sendable, to_json
from langchain_moa._messages.prompts import ADVISER, CONTINUE, with_system
from langchain_moa._messages.reasoning import without_reasoning


def reference_text(reply: BaseMessage | str) -> str:
    """Return what others see of a proposer's reply: its text, without reasoning, and its tool calls as text.

    What the provider's own tools did (a web search, say) is not shown: the text says what came of it.

    Returns:
        A text that can be sent on: it has no lone surrogates.
    """
    if isinstance(reply, str):
        reply = AIMessage(reply)
    text = str(reply.text)
    if "<" in text:  # a quick look, before the whole text is searched for tags
        text = without_reasoning(text)
    shown = "\n".join(filter(None, [text.strip(), *_calls_as_text(reply)]))
    return shown if shown.isascii() else sendable(shown)


def adviser_view(messages: Sequence[BaseMessage], tools: Sequence[Any]) -> list[BaseMessage]:
    """Return a conversation as a proposer sees it; a plain one is returned as it is.

    Args:
        messages: The conversation. It is not changed.
        tools: Schemas of the tools that the aggregator has, as a provider takes them; may be empty.

    Returns:
        No tool calls and no tool messages; user and assistant take turns; the last turn is the user's and not empty.
            Providers answer 400 to a conversation that is otherwise. Where messages of several speakers become one
            turn, each speaker's name stands before the text.
    """
    shown = [message for message in map(_without_tools, messages) if not _is_empty(message)]
    turns: list[BaseMessage] = []
    for kind, messages_of_kind in groupby(shown, type):
        group = list(messages_of_kind)
        is_turn = len(group) > 1 and issubclass(kind, HumanMessage | AIMessage)
        turns += [_joined(group)] if is_turn else group
    if not turns or not isinstance(turns[-1], HumanMessage):
        turns.append(HumanMessage(CONTINUE))
    if not tools:
        return turns
    catalog = "\n".join(f"- {name}: {description}" for name, description in map(_name_and_description, tools))
    return with_system(turns, ADVISER + catalog)


def fitting_content(messages: Iterable[BaseMessage], profile: Mapping[str, Any] | None) -> list[BaseMessage]:
    """Replace the images and files that a model does not take by a short placeholder.

    Args:
        messages: The conversation. It is not changed.
        profile: The model's. What it does not mention is passed on.
    """
    refused = {needs for needs, takes in (profile or {}).items() if takes is False}
    return [_with_placeholders(message, refused) for message in messages] if refused else list(messages)


def _without_tools(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        name = f" of {message.name}" if message.name else ""
        failed = " (failed)" if message.status == "error" else ""
        return HumanMessage(sendable(f"[tool result{name}{failed}: {_content_as_text(message)}]"))
    if not isinstance(message, AIMessage):
        return message
    shown = [*_server_tools_as_text(message), message.text, *_calls_as_text(message)]
    if len(shown) == 1 and isinstance(message.content, str):
        return message
    return AIMessage("\n".join(filter(None, shown)), name=message.name)


def _calls_as_text(message: BaseMessage) -> list[str]:
    if not isinstance(message, AIMessage) or not (message.tool_calls or message.invalid_tool_calls):
        return []
    calls = [_call_as_text(call["name"], to_json(call["args"])) for call in message.tool_calls]
    return calls + [_call_as_text(call["name"], call["args"]) for call in message.invalid_tool_calls]


def _call_as_text(name: str | None, arguments: str | None) -> str:
    return sendable(f"[called tool: {name}({arguments})]")


def _server_tools_as_text(message: AIMessage) -> list[str]:
    """Return what a provider's own tools were asked and gave, such as a web search."""
    if isinstance(message.content, str) and "executed_tools" not in message.additional_kwargs:  # Groq's are there
        return []
    try:
        blocks: Sequence[Mapping[str, Any]] = message.content_blocks
    except Exception:  # the translators of langchain-core 1.8 fail on blocks that are not as a provider makes them
        blocks = [block for block in message.content if isinstance(block, dict)]
    names = {block.get("id"): block.get("name") for block in blocks if block.get("type") == "server_tool_call"}
    shown = []
    for block in blocks:
        if block.get("type") == "server_tool_call":
            shown.append(_call_as_text(block.get("name"), to_json(block.get("args"))))
        elif block.get("type") == "server_tool_result":
            name = names.get(block.get("tool_call_id"))
            failed = " (failed)" if block.get("status") == "error" else ""
            output = block.get("output")
            result = output if isinstance(output, str) else to_json(output)
            shown.append(sendable(f"[tool result{f' of {name}' if name else ''}{failed}: {result}]"))
    return shown


def _content_as_text(message: BaseMessage) -> str:
    """Return a message's content as text, with placeholders: base64 is never put into a prompt."""
    return message.content if isinstance(message.content, str) else "".join(map(as_text, message.content))


def _with_placeholders(message: BaseMessage, refused: set[str]) -> BaseMessage:
    if isinstance(message.content, str) or not any(needed_input(block) in refused for block in message.content):
        return message
    content = [placeholder(block) if needed_input(block) in refused else block for block in message.content]
    return message.model_copy(update={"content": content})


def _is_empty(message: BaseMessage) -> bool:
    if isinstance(message.content, str):
        return not message.content.strip()
    is_text = (isinstance(block, str) or block.get("type") == "text" for block in message.content)
    return all(is_text) and not message.text.strip()


def _joined(messages: Sequence[BaseMessage]) -> BaseMessage:
    first = messages[0]
    update: dict[str, Any] = {}
    if len({message.name for message in messages}) > 1:
        messages = list(map(_with_speaker, messages))
        update["name"] = None
    if all(isinstance(message.content, str) for message in messages):
        update["content"] = "\n\n".join(str(message.content) for message in messages)
    else:
        update["content"] = [block for message in messages for block in _blocks(message)]
    return first.model_copy(update=update)


def _with_speaker(message: BaseMessage) -> BaseMessage:
    if not message.name:
        return message
    if isinstance(message.content, str):
        content: str | list[Any] = f"{message.name}: {message.content}"
    else:
        content = [{"type": "text", "text": f"{message.name}: "}, *message.content]
    return message.model_copy(update={"content": content})


def _blocks(message: BaseMessage) -> list[Any]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return message.content


def _name_and_description(tool: Any) -> tuple[str, str]:
    schema = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(schema.get("name") or schema.get("type") or tool), str(schema.get("description") or "")
