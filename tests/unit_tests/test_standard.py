"""LangChain's own tests of what a chat model must be, without calls."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_moa import ChatMoA


# `test_serdes` calls two of core's own functions that warn: one is in beta, one is deprecated.
@pytest.mark.filterwarnings("ignore:The function `load` is in beta", "ignore:The method `BaseChatModel.dict`")
class TestChatMoAUnit(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOGETHER_API_KEY", "test-key")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "cookbook"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"TOGETHER_API_KEY": "test-key"}, {}, {"model": "default"}

    @pytest.mark.xfail(
        raises=ValueError,
        reason="With allowed_objects='all' core loads only classes of its own table (langchain_core.load.mapping); "
        "allowed_objects=[ChatMoA] loads them, see test_account.py.",
    )
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)
