"""The prompt that the aggregator saw, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import BaseMessage

from langchain_moa._messages.blocks import as_text, needed_input

_ROLES = {"human": "user", "ai": "assistant"}


class PromptListener(AsyncCallbackHandler):
    """Hears what the aggregator is asked with. It has to be among the mixture's `inner_handlers`."""

    def __init__(self) -> None:
        """Begin without a prompt."""
        self._heard: list[dict[str, str]] | None = None

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the prompt of the aggregator, or of the one that took over from it."""
        if "moa:aggregator" in (tags or ()):
            self._heard = _shown(messages[0])

    def take(self) -> list[dict[str, str]] | None:
        """Return the prompt, as messages of `role` and `text`, once; `None` if there is no new one."""
        heard, self._heard = self._heard, None
        return heard


def _shown(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    return [{"role": _ROLES.get(message.type, message.type), "text": _text(message)} for message in messages]


def _text(message: BaseMessage) -> str:
    blocks = message.content if isinstance(message.content, list) else [message.content]
    return "\n\n".join(filter(None, map(_as_text, blocks)))


def _as_text(block: Any) -> str:
    """Return a block as text. Of an image, which the reader has, only that it was there."""
    media = needed_input(block)
    return f"[{media.removesuffix('_inputs')}]" if media else as_text(block)
