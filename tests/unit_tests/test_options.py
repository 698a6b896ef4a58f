"""Options: declared once, checked wherever they are given, and explained."""

import inspect
import pydoc

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import SecretStr, ValidationError

from langchain_moa import Aggregator, ChatMoA, Proposer, create_moa_graph
from langchain_moa.options import MoAOptions
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer

OPTIONS = {"proposers": ["lab/a", "lab/b"], "aggregator": "lab/writer"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def scripted(**options):
    return ChatMoA(**{"proposers": [ScriptedChatModel()], "aggregator": ScriptedChatModel(reply="done"), **options})


def refusal(build, **options):
    """What is said of options that are refused, whoever refuses them."""
    with pytest.raises(ValidationError) as error:
        build(**{"proposers": [ScriptedChatModel()], "aggregator": ScriptedChatModel(), **options})
    return [(each["loc"], each["msg"]) for each in error.value.errors()]


# -- Declared once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("grace", -1),
        ("deadline", -5),
        ("timeout", 0),
        ("temperature", -3),
        ("max_tokens", 0),
        ("min_references", -2),
        ("on_failure", "nope"),
        ("aggregation", "sellect"),
        ("reference_placement", "nope"),
        ("fan_out", "nope"),
        ("max_retries", -1),
        ("rounds", 0),
    ],
)
def test_the_graph_and_the_model_refuse_a_value_in_the_same_words(option, value):
    said = refusal(create_moa_graph, **{option: value})
    assert said
    assert said == refusal(ChatMoA, **{option: value})
    assert {location[0] for location, _ in said} == {option}


def test_the_graphs_signature_has_every_option_with_its_default():
    parameters = inspect.signature(create_moa_graph).parameters
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        name: field.default for name, field in MoAOptions.model_fields.items()
    }


@pytest.mark.parametrize("cls", [MoAOptions, ChatMoA])
def test_help_and_the_fields_have_the_text_of_every_option(cls):
    text = " ".join(pydoc.plain(pydoc.render_doc(cls)).replace("|", " ").split())
    for name in MoAOptions.model_fields:
        description = cls.model_fields[name].description
        assert description
        assert f"{name}: {' '.join(description.split())}" in text


# -- Assigned --------------------------------------------------------------------------------------------------------


def test_an_assigned_option_takes_effect_at_the_next_call(ask, together):
    server = together()
    model = ChatMoA(**OPTIONS)
    ask(model, "Hi")
    server.reset()
    model.rounds = 3
    model.proposers = ["lab/c"]
    model.temperature = 0.25
    ask(model, "Hi")
    assert [(body["model"], body["temperature"]) for body in server.requests] == [("lab/c", 0.25)] * 3 + [
        ("lab/writer", 0.25)
    ]
    assert "lab/c" in repr(model)


@pytest.mark.parametrize(
    ("option", "value"),
    [("rounds", 0), ("proposers", []), ("proposers", "lab/a"), ("temperature", -1), ("min_references", 9)],
)
def test_a_refused_assignment_leaves_the_model_as_it_was(ask, option, value):
    model = scripted(rounds=2)
    before = model.asdict()
    with pytest.raises(ValueError, match=option if value else "proposers|rounds"):
        setattr(model, option, value)
    assert model.asdict() == before
    answer = ask(model, "Hi")
    assert len(answer.response_metadata["moa"]["layers"]) == 2


def test_an_unknown_option_can_not_be_assigned():
    with pytest.raises(ValueError, match="propsers"):
        scripted().propsers = []


# -- Those that every chat model of LangChain has ----------------------------------------------------------------------


def test_key_and_address_and_further_arguments_reach_every_model_on_together(ask, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "of-somebody-else")
    with OpenAIServer(api_key="of-this-tenant") as server:
        model = ChatMoA(
            **OPTIONS,
            fallback_aggregators=["lab/spare"],
            api_key="of-this-tenant",
            base_url=server.url,
            max_retries=1,
            model_kwargs={"top_p": 0.9, "seed": 7, "user": "tenant"},
        )
        assert ask(model, "Hi").text == "reply of lab/writer"
    assert len(server.requests) == 3
    for body in server.requests:
        assert (body["top_p"], body["seed"], body["user"]) == (0.9, 7, "tenant")
    assert model.aggregator_model.max_retries == 1


def test_two_tenants_of_one_process_use_their_own_keys(ask):
    with OpenAIServer() as server:
        for key in ("first-tenant", "second-tenant"):
            server.reset()
            ask(ChatMoA(**OPTIONS, api_key=SecretStr(key), base_url=server.url), "Hi")
            assert {headers["authorization"] for headers in server.headers} == {f"Bearer {key}"}


@pytest.mark.parametrize("option", [{"api_key": "k"}, {"base_url": "http://127.0.0.1:1/v1"}])
def test_key_and_address_are_for_together_alone(monkeypatch, option):
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for models on Together"):
        ChatMoA(proposers=["openai:gpt-x"], aggregator="openai:gpt-x", **option)


@pytest.mark.parametrize("name", ["temperature", "api_key", "model"])
def test_what_has_an_option_of_its_own_is_refused_in_model_kwargs(name):
    with pytest.raises(ValueError, match=f"{name} is an option of its own"):
        ChatMoA(**OPTIONS, api_key="k", model_kwargs={name: 1})


def test_stop_sequences_is_another_name_of_stop(ask):
    writer = ScriptedChatModel()
    ask(scripted(aggregator=writer, stop_sequences=["END"]), "Hi")
    ask(scripted(aggregator=writer, stop=["END"]), "Hi")
    assert [kwargs["stop"] for kwargs in writer.kwargs] == [["END"], ["END"]]


# -- Said with an example ----------------------------------------------------------------------------------------------


def plain_function(messages):
    raise NotImplementedError


async def async_function(messages):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposers": "a/b"}, r"write proposers=\['a/b'\]"),
        ({"proposers": ScriptedChatModel()}, r"write proposers=\[ScriptedChatModel\(...\)\]"),
        ({"fallback_aggregators": "a/b"}, r"write fallback_aggregators=\['a/b'\]"),
        ({"aggregator": Proposer(model="a/b")}, r"aggregator takes no Proposer: .* or Aggregator\(model=...\)"),
        ({"fallback_aggregators": [Proposer(model="a/b")]}, "fallback_aggregators takes no Proposer"),
        ({"fallback_aggregators": Aggregator(model="a/b")}, r"fallback_aggregators=\[Aggregator\(...\)\]"),
        ({"proposers": [Aggregator(model="a/b")]}, r"proposers takes no Aggregator: .* or Proposer\(model=...\)"),
        ({"proposers": None, "layers": [[Aggregator(model="a/b")]]}, "layers takes no Aggregator"),
        ({"proposers": [plain_function]}, r"RunnableLambda\(plain_function\)"),
        ({"proposers": [async_function]}, r"RunnableLambda\(async_function\)"),
        ({"aggregator": plain_function}, r"RunnableLambda\(plain_function\)"),
        ({"proposers": [ChatOpenAI]}, r"such as ChatOpenAI\(...\)"),
        ({"proposers": None, "layers": ["a/b", "a/c"]}, "layers is a list of lists"),
        ({"proposers": None, "layers": [[plain_function]]}, r"RunnableLambda\(plain_function\)"),
        ({"propsers": []}, "Did you mean 'proposers'"),
        ({"top_p": 0.5}, r"model_kwargs=\{'top_p': ...\}"),
    ],
)
def test_what_is_often_given_by_mistake_is_answered_with_what_is_right(options, message):
    with pytest.raises(ValueError, match=message):
        scripted(**options)


@pytest.mark.parametrize("function", [plain_function, async_function])
def test_a_proposers_model_is_no_function(function):
    with pytest.raises(ValueError, match=rf"RunnableLambda\({function.__name__}\)"):
        Proposer(model=function)
    assert Proposer(model=RunnableLambda(function))


def test_a_positional_argument_is_answered_with_the_keyword():
    with pytest.raises(TypeError, match=r"write ChatMoA\(model='cookbook'\)"):
        ChatMoA("cookbook")


@pytest.mark.parametrize("option", ["rounds", "proposers", "aggregation", "api_key", "include_references"])
def test_an_option_of_the_mixture_is_no_argument_of_a_call(ask, option):
    proposer = ScriptedChatModel()
    with pytest.raises(ValueError, match=f"{option} is an option of the mixture, not of a call") as error:
        ask(scripted(proposers=[proposer]), "Hi", **{option: "secret-value"})
    assert option != "api_key" or "secret-value" not in str(error.value)
    assert proposer.seen == []


def test_arguments_of_a_request_are_the_aggregators(ask):
    writer = ScriptedChatModel()
    ask(scripted(aggregator=writer), "Hi", temperature=0.1, max_tokens=5, timeout=3, seed=1)
    assert writer.kwargs == [{"temperature": 0.1, "max_tokens": 5, "timeout": 3, "seed": 1}]


# -- An empty question -------------------------------------------------------------------------------------------------

CALL = {"id": "call_1", "name": "f", "args": {}}


@pytest.mark.parametrize(
    "question",
    [
        "",
        " \n",
        [HumanMessage("")],
        [SystemMessage("Be brief."), HumanMessage([])],
        [HumanMessage([{"type": "text", "text": " "}])],
        [HumanMessage("One?"), AIMessage("One."), HumanMessage("\t")],
    ],
    ids=str,
)
def test_an_empty_question_is_refused_before_it_costs_a_call(ask, question):
    proposer, writer = ScriptedChatModel(), ScriptedChatModel()
    with pytest.raises(ValueError, match="last message of the user is empty"):
        ask(scripted(proposers=[proposer], aggregator=writer), question)
    assert proposer.seen == writer.seen == []


@pytest.mark.parametrize(
    "conversation",
    [
        [HumanMessage([PICTURE])],
        [HumanMessage([{"type": "text", "text": ""}, PICTURE])],
        [HumanMessage("Look it up."), AIMessage("", tool_calls=[CALL]), ToolMessage("", tool_call_id="call_1")],
        [HumanMessage(""), AIMessage("Yes?"), HumanMessage("One?")],
        [SystemMessage("Say hello.")],
    ],
    ids=["picture", "picture and empty text", "empty result of a tool", "empty long ago", "system alone"],
)
def test_a_conversation_without_new_text_is_answered(ask, conversation):
    assert ask(scripted(), conversation).text == "done"


# -- Another line-up at a call -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["together-moa-lite", "nonsense"])
def test_a_mixture_of_explicit_models_refuses_a_line_up(ask, name):
    proposer = ScriptedChatModel()
    model = scripted(proposers=[proposer], model="mine")
    with pytest.raises(ValueError, match=rf"names the line-up '{name}'.*ask ChatMoA\(model='{name}'\)"):
        ask(model, "Hi", model=name)
    assert proposer.seen == []
    assert ask(model, "Hi", model="mine").response_metadata["model_name"] == "mine"


def test_few_of_the_line_ups_that_calls_have_named_are_kept(together, monkeypatch):
    together()
    model = ChatMoA(model="default")
    for name in ("cookbook", "bot", "cookbook"):
        assert model.invoke("Hi", model=name).response_metadata["model_name"] == name
    kept = model._with_lineup.cache_info()
    assert (kept.hits, kept.currsize) == (1, 2)
    assert kept.maxsize < 10
    model.temperature = 0.1
    assert model.invoke("Hi", model="bot").response_metadata["model_name"] == "bot"
