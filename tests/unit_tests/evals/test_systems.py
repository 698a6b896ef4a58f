from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA
from langchain_moa.evals.systems import System, fingerprint_of
from tests.fakes import ScriptedChatModel


def openai(**options):
    return ChatOpenAI(model="m", api_key="sk-secret", **options)


def test_a_model_is_built_once_for_each_decoding():
    built = []

    def build(decoding):
        built.append(decoding)
        return ScriptedChatModel()

    system = System(name="a", fingerprint="1", build=build)
    cold = system.model({"temperature": 0})
    assert system.model({"temperature": 0}) is cold
    assert system.model({}) is not cold
    assert built == [{"temperature": 0}, {}]


def test_a_models_own_fields_take_the_benchmarks_decoding_and_the_model_stays_as_it_was():
    model = openai(temperature=1.0)
    decoded = System.of("a", model).model({"temperature": 0.2, "max_tokens": 7})
    assert (decoded.temperature, decoded.max_tokens) == (0.2, 7)
    assert (model.temperature, model.max_tokens) == (1.0, None)


def test_every_model_of_a_mixture_takes_the_benchmarks_decoding():
    model = ChatMoA(model="local")
    decoded = System.of("moa", model).model({"temperature": 0.0, "max_tokens": 7})
    assert (decoded.temperature, decoded.max_tokens) == (0.0, 7)


def test_a_model_without_such_fields_decodes_as_it_does_by_itself():
    model = FakeListChatModel(responses=["a"])
    assert System.of("a", model).model({"temperature": 0}) is model


def test_the_fingerprint_tells_what_decides_an_answer_and_not_where_the_object_lies():
    assert fingerprint_of(openai()) == fingerprint_of(openai())
    assert fingerprint_of(openai()) != fingerprint_of(openai(temperature=0.5))
    assert fingerprint_of(ChatMoA(model="local")) == fingerprint_of(ChatMoA(model="local"))
    assert fingerprint_of(ChatMoA(model="local")) != fingerprint_of(ChatMoA(model="local", rounds=2))
