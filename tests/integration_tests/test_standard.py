"""LangChain's own tests of what a chat model must do, through the real `ChatTogether` over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_moa import ChatMoA
from tests.openai_server import OpenAIServer
from tests.standard_model import answer


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as running:
        yield running


class TestChatMoAOverHTTP(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _together(self, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOGETHER_API_BASE", server.url)
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"proposers": ["lab/a", "lab/b", "lab/c"], "aggregator": "lab/writer"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    # Image inputs are tested in test_content.py: the suite downloads its pictures.

    @property
    def supports_model_override(self) -> bool:
        """The name of a mixture is a line-up's, and a call's arguments are the aggregator's."""
        return False
