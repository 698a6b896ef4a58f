"""`init_chat_model("moa:…")`."""

import pytest
from langchain.agents import create_agent
from langchain.chat_models import base, init_chat_model

from langchain_moa import ChatMoA, MoAError, register


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))


def test_a_line_up_is_built_by_name():
    register()
    model = init_chat_model("moa:cookbook", rounds=2)
    assert isinstance(model, ChatMoA)
    assert (model.model, model.rounds) == ("cookbook", 2)


def test_the_line_up_may_be_chosen_at_each_call(together):
    register()
    together()
    model = init_chat_model(configurable_fields=("model", "model_provider"), temperature=0)
    config = {"configurable": {"model": "cookbook", "model_provider": "moa"}}
    assert model.invoke("Hi", config).response_metadata["model_name"] == "cookbook"


def test_an_agent_is_created_by_name(together):
    register()
    together()
    state = create_agent("moa:cookbook", tools=[]).invoke({"messages": "Hi"})
    assert state["messages"][-1].response_metadata["model_name"] == "cookbook"


def test_a_version_of_langchain_that_moved_its_table_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.delattr(base, "_BUILTIN_PROVIDERS")
    with pytest.raises(MoAError, match=r"pass ChatMoA\(model=…\) itself"):
        register()
