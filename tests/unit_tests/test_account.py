"""What a mixture says of itself: its name, who takes part, what calls cost, and its serialized form."""

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA, Proposer
from langchain_moa.lineups import LINEUPS
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply
from tests.standard_model import answer

OPTIONS = {"proposers": ["lab/a", "lab/b"], "aggregator": "lab/writer"}
ALLOWED = {"allowed_objects": [ChatMoA, Proposer, ChatOpenAI], "valid_namespaces": ["langchain_moa"]}

pytestmark = pytest.mark.filterwarnings("ignore:The function `loads?` is in beta")


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "key-of-the-environment")


# -- Its name and usage ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("key")
def test_the_model_name_is_the_line_ups():
    assert ChatMoA().model_name == "default"
    assert ChatMoA(**OPTIONS).model_name == "moa"


@pytest.mark.parametrize("way", ["generate", "agenerate"])
async def test_the_llm_output_has_the_name_and_the_sum_of_all_calls(together, way):
    together()
    model, questions = ChatMoA(**OPTIONS), [[HumanMessage("One?")], [HumanMessage("Two?")]]
    result = model.generate(questions) if way == "generate" else await model.agenerate(questions)
    assert result.llm_output == {
        "model_name": "moa",
        "token_usage": {"prompt_tokens": 6 * 11, "completion_tokens": 6 * 7, "total_tokens": 6 * 18},
    }


def test_a_cached_answer_costs_nothing(together):
    together()
    model = ChatMoA(**OPTIONS, cache=InMemoryCache())
    assert model.generate([[HumanMessage("One?")]]).llm_output["token_usage"]["total_tokens"] == 3 * 18
    assert model.generate([[HumanMessage("One?")]]).llm_output == {"model_name": "moa", "token_usage": {}}


def test_an_answer_reports_one_usage_the_sum(ask, together):
    together()
    answer = ask(ChatMoA(**OPTIONS), "Hi")
    assert answer.usage_metadata["total_tokens"] == 3 * 18
    assert not {"token_usage", "usage"} & set(answer.response_metadata)


# -- Who takes part ----------------------------------------------------------------------------------------------------


def test_the_repr_names_who_takes_part():
    model = ChatMoA(**OPTIONS, api_key="secret-key", rounds=2, model_kwargs={"user": "secret-user"})
    expected = "ChatMoA(model='moa', proposers=['lab/a', 'lab/b'], rounds=2, aggregator='lab/writer')"
    assert repr(model) == expected
    layers = ChatMoA(layers=[["lab/a", Proposer(model="lab/b", samples=3)], ["lab/c"]], aggregator="lab/d", api_key="k")
    assert repr(layers) == "ChatMoA(model='moa', layers=[['lab/a', 'lab/b x3'], ['lab/c']], aggregator='lab/d')"


def test_the_description_says_who_takes_part_and_what_an_answer_takes():
    model = ChatMoA(
        layers=[["lab/a", Proposer(model="lab/b", name="poet", samples=3)], [ScriptedChatModel(model_name="own")]],
        aggregator="lab/writer",
        fallback_aggregators=["lab/spare"],
        aggregation="analyze",
        api_key="secret-key",
        model="mine",
    )
    assert model.describe() == (
        "mine\n"
        "  Layer 1:          lab/a, lab/b (poet) x3\n"
        "  Layer 2:          own\n"
        "  Aggregator:       lab/writer\n"
        "  Fallbacks:        lab/spare\n"
        "  Aggregation:      analyze\n"
        "  Calls per answer: 7"
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rounds": 2},
        {"window": 4},
        {"window": 3, "reserve": 1},
        {"aggregation": "analyze"},
        {"aggregation": "analyze", "window": 4},
        {"aggregation": "select"},
        {"aggregation": "select", "window": 3, "reserve": 1},
        {"aggregation": "select", "judge": "lab/judge"},
    ],
    ids=str,
)
def test_an_answer_takes_as_many_calls_as_the_description_says(options):
    with OpenAIServer(answer) as server:
        proposers = [f"lab/{number}" for number in range(7)]
        model = ChatMoA(proposers=proposers, aggregator="lab/writer", api_key="k", base_url=server.url, **options)
        model.invoke("Hi")
    assert model.describe().endswith(f"Calls per answer: {len(server.requests)}")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("name", [name for name in LINEUPS if name != "local"])
def test_a_line_up_is_described_as_it_is_planned(name):
    description = ChatMoA(model=name).describe()
    assert description.startswith(f"{name}\n")
    assert description.endswith(f"Calls per answer: {LINEUPS[name].calls}")


def test_a_vote_may_need_the_aggregator_or_not():
    model = ChatMoA(**OPTIONS, api_key="k", aggregation="vote")
    assert model.describe().endswith("Calls per answer: 2 to 3")


# -- Its serialized form -----------------------------------------------------------------------------------------------


def test_a_mixture_of_names_is_loaded_as_it_was(together):
    server = together()
    model = ChatMoA(
        proposers=["lab/a", Proposer(model="lab/b", samples=2, instructions="Rhyme.")],
        aggregator="lab/writer",
        temperature=0.1,
        stop=["END"],
    )
    for loaded in (load(dumpd(model), **ALLOWED), loads(dumps(model), **ALLOWED)):
        assert loaded.asdict() == model.asdict()
        server.reset()
        assert loaded.invoke("Hi").text == "reply of lab/writer"
        assert len(server.requests) == 4


def test_a_model_object_inside_is_loaded_by_its_own_means(together):
    server = together()
    own = ChatOpenAI(model="lab/own", api_key="test-key", base_url=server.url)
    model = ChatMoA(proposers=[own], aggregator=own)
    loaded = load(dumpd(model), secrets_map={"OPENAI_API_KEY": "test-key"}, **ALLOWED)
    assert loaded.invoke("Hi").text == "reply of lab/own"


def test_what_can_not_be_serialized_is_refused_when_it_is_loaded():
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=RunnableLambda(lambda messages: "done"))
    with pytest.raises((NotImplementedError, ValueError)):
        load(dumpd(model), **ALLOWED)


def test_a_given_key_is_in_no_serialized_form_no_trace_and_no_error(ask):
    with OpenAIServer({"lab/a": Reply(status=401, error="no"), "lab/b": "b", "lab/writer": "done"}) as server:
        model = ChatMoA(**OPTIONS, api_key="secret-key", base_url=server.url)
        reply = ask(model, "Hi")
        with pytest.raises(Exception, match="AuthenticationError") as error:
            ask(ChatMoA(proposers=["lab/a"], aggregator="lab/b", api_key="secret-key", base_url=server.url), "Hi")
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret-key"}
    shown = [
        repr(model),
        model.describe(),
        dumps(model),
        str(dumpd(model)),
        str(model.asdict()),
        str(model.model_dump()),
        model._get_llm_string(),
        str(reply),
        repr(error.value) + str(error.value.__dict__),
        repr(model.graph),
    ]
    assert [text for text in shown if "secret-key" in text] == []
    loaded = load(dumpd(model), secrets_map={"TOGETHER_API_KEY": "another-key"}, **ALLOWED)
    assert loaded.api_key.get_secret_value() == "another-key"
