"""LangChain's own tests of what a chat model must do, through the real `ChatTogether` over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_moa import ChatMoA
from tests.local_model import needs_local_model
from tests.openai_server import OpenAIServer
from tests.standard_model import ScriptedModelTests, answer


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as running:
        yield running


class TestChatMoAOverHTTP(ScriptedModelTests):
    @pytest.fixture(autouse=True)
    def _together(self, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOGETHER_API_BASE", server.url)
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "together-moa-lite"}


@needs_local_model
class TestChatMoAOnLlamaCpp(ChatModelIntegrationTests):
    """A real model, as far as one of 135 million parameters goes: it can't call tools."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        model = "local:smollm2-135m-instruct"
        return {"proposers": [model, model], "aggregator": model, "max_tokens": 16, "temperature": 0.2}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_model_override(self) -> bool:
        """There is one local line-up."""
        return False
