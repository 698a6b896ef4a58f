"""Aggregators with settings of their own, wherever a mixture has one: as writer, as fallback and as judge."""

import pytest
from langchain_core.load import dumpd, load
from langchain_core.runnables import RunnableLambda
from langchain_together import ChatTogether

from langchain_moa import Aggregator, ChatMoA
from langchain_moa._models.transport import http_clients
from langchain_moa.lineups import LINEUPS
from tests.openai_server import Reply
from tests.unit_tests.test_aggregation import ANALYSIS, choosing, is_judge, tool_call
from tests.upstream import SYNTHESIZE


def sampling(body):
    return body["temperature"], body["max_tokens"]


def system(body):
    return body["messages"][0]["content"]


@pytest.fixture(params=["a string", "a chat model"])
def model(request, together):
    """Return a model that is given as a string, or as an object with sampling of its own."""
    together()

    def build(name):
        is_object = request.param == "a chat model"
        return ChatTogether(model=name, temperature=0.5, max_tokens=50, **http_clients()) if is_object else name

    return build


def test_a_writers_own_settings_are_in_its_request_alone(ask, together, model):
    server = together({"lab/a": "one", "lab/writer": "written"})
    writer = Aggregator(model=model("lab/writer"), temperature=0.1, max_tokens=99, instructions="Rhyme.")
    answer = ask(ChatMoA(proposers=["lab/a"], aggregator=writer), [("system", "Be brief."), ("human", "Q")])
    assert answer.text == "written"
    proposer, written = server.requests
    assert (sampling(proposer), system(proposer)) == ((0.7, 2048), "Be brief.")
    assert (sampling(written), system(written)) == ((0.1, 99), f"Be brief.\n\nRhyme.\n\n{SYNTHESIZE}\n1. one")


def test_what_is_not_set_is_the_mixtures_or_the_models(ask, together, model):
    server = together()
    own = model("lab/writer")
    ask(ChatMoA(proposers=["lab/a"], aggregator=Aggregator(model=own, temperature=0.1)), "Q")
    assert sampling(server.requests[-1]) == (0.1, 8192 if own == "lab/writer" else 50)
    assert len(server.requests) == 2


def test_an_argument_of_the_call_wins_over_the_writers_own(ask, together, model):
    server = together()
    ask(ChatMoA(proposers=["lab/a"], aggregator=Aggregator(model=model("lab/w"), max_tokens=9)), "Q", max_tokens=5)
    assert [body["max_tokens"] for body in server.requests] == [2048, 5]


def test_a_fallbacks_own_settings_are_in_its_request_alone(ask, together, model):
    server = together({"lab/a": "one", "lab/writer": Reply(status=400), "lab/spare": "written"})
    spare = Aggregator(model=model("lab/spare"), temperature=0.2, max_tokens=7, instructions="Rhyme.")
    answer = ask(ChatMoA(proposers=["lab/a"], aggregator="lab/writer", fallback_aggregators=[spare]), "Q")
    assert answer.text == "written"
    assert [sampling(body) for body in server.requests] == [(0.7, 2048), (0.7, 8192), (0.2, 7)]
    assert system(server.requests[2]) == f"Rhyme.\n\n{SYNTHESIZE}\n1. one"


@pytest.mark.parametrize("way", ["select", "analyze"])
def test_a_judges_own_settings_are_in_its_requests_alone(ask, together, model, way):
    verdict = choosing("two") if way == "select" else lambda body: tool_call(ANALYSIS)
    replies = {"lab/a": "one", "lab/b": "two", "lab/writer": "written"}
    server = together(lambda body: verdict(body) if is_judge(body) else replies[body["model"]])
    judge = Aggregator(model=model("lab/judge"), temperature=0, max_tokens=300, instructions="Be strict.")
    answer = ask(ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/writer", judge=judge, aggregation=way), "Q")
    assert answer.text == ("two" if way == "select" else "written")
    assert [(body["model"], *sampling(body)) for body in server.requests[2:]] == [
        ("lab/judge", 0, 300),
        *([("lab/writer", 0.7, 8192)] if way == "analyze" else []),
    ]
    assert system(server.requests[2]).startswith("Be strict.\n\nYou have been provided")
    assert answer.response_metadata["moa"]["degraded"] == []


def test_tools_and_schemas_work_with_a_writers_own_settings(ask, together, model):
    server = together({"lab/a": "one", "lab/writer": '{"a": 1}'})
    writer = Aggregator(model=model("lab/writer"), temperature=0.1)
    mixture = ChatMoA(proposers=["lab/a"], aggregator=writer)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ask(mixture.bind_tools([tool]), "Q")
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "integer"}}}
    assert mixture.with_structured_output(schema, method="json_schema").invoke("Q") == {"a": 1}
    first, second = [body for body in server.requests if body["model"] == "lab/writer"]
    assert (first["temperature"], first["tools"][0]["function"]["name"]) == (0.1, "f")
    assert (second["temperature"], second["response_format"]["type"]) == (0.1, "json_schema")


def test_an_answer_that_was_cut_off_is_named(ask, together):
    together({"lab/a": "one", "lab/writer": Reply(text="half an ans", finish_reason="length")})
    writer = Aggregator(model="lab/writer", max_tokens=3)
    answer = ask(ChatMoA(proposers=["lab/a"], aggregator=writer), "Q")
    assert answer.response_metadata["moa"]["degraded"] == [{"reason": "answer_truncated"}]


@pytest.mark.parametrize("name", ["together-moa", "together-moa-lite", "cookbook", "bot"])
def test_the_published_line_ups_keep_their_published_numbers(together, name):
    server = together()
    ChatMoA(model=name).invoke("Q")
    assert {sampling(body) for body in server.requests} == {(0.7, LINEUPS[name].max_tokens)}
    assert LINEUPS[name].max_tokens in (512, 2048)


def test_a_mixture_with_settings_is_described_and_loaded_as_it_was(together):
    server = together()
    writer = Aggregator(model="lab/writer", temperature=0.1, instructions="Rhyme.")
    model = ChatMoA(proposers=["lab/a"], aggregator=writer, fallback_aggregators=[Aggregator(model="lab/spare")])
    assert "  Aggregator:       lab/writer\n  Fallbacks:        lab/spare\n" in model.describe()
    with pytest.warns(match="in beta"):
        loaded = load(dumpd(model), allowed_objects=[ChatMoA, Aggregator], valid_namespaces=["langchain_moa"])
    assert loaded.asdict() == model.asdict()
    loaded.invoke("Q")
    assert server.requests[-1]["temperature"] == 0.1


def test_a_model_with_fallbacks_gives_its_instructions_to_all_of_them(ask, together):
    server = together({"lab/a": "one", "lab/bad": Reply(status=400), "lab/good": "written"})
    bad, good = [ChatTogether(model=name, **http_clients()) for name in ("lab/bad", "lab/good")]
    writer = Aggregator(model=bad.with_fallbacks([good]), instructions="Rhyme.")
    assert ask(ChatMoA(proposers=["lab/a"], aggregator=writer), "Q").text == "written"
    assert [system(body).startswith("Rhyme.\n\n") for body in server.requests[1:]] == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": RunnableLambda(str), "temperature": 0.1}, "need a model string or a chat model"),
        ({"model": lambda messages: "x"}, "make a Runnable of it"),
        ({"model": "lab/a", "max_tokens": 0}, "max_tokens"),
        ({"model": "lab/a", "instructions": ""}, "instructions"),
        ({"model": "lab/a", "samples": 2}, "samples"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Aggregator(**options)


# -- A line-up's judge and fallbacks go with its aggregator ------------------------------------------------------------

DEFAULT = LINEUPS["default"]


def of_the_default(together, writer="written"):
    def reply(body):
        if is_judge(body):
            return choosing(f"reply of {DEFAULT.proposers[1]}")(body)
        return writer if body["model"] == DEFAULT.aggregator else f"reply of {body['model']}"

    return together(reply)


def asked_after_the_proposers(server):
    return [body["model"] for body in server.requests[len(DEFAULT.proposers) :]]


def test_a_line_ups_judge_judges(ask, together):
    server = of_the_default(together)
    model = ChatMoA(aggregation="select")
    assert f"  Judge:            {DEFAULT.judge}\n" in model.describe()
    assert ask(model, "Q").text == f"reply of {DEFAULT.proposers[1]}"
    assert asked_after_the_proposers(server) == [DEFAULT.judge]


def test_where_nothing_is_judged_a_line_ups_judge_takes_no_part(ask, together):
    server = of_the_default(together)
    model = ChatMoA()
    assert "Judge" not in model.describe()
    assert ask(model, "Q").text == "written"
    assert asked_after_the_proposers(server) == [DEFAULT.aggregator]


def test_the_users_own_judge_and_aggregator_take_the_place_of_the_line_ups(ask, together):
    server = of_the_default(together)
    ask(ChatMoA(aggregation="select", judge="lab/judge"), "Q")
    ask(ChatMoA(aggregation="select", aggregator="lab/writer"), "Q")
    assert asked_after_the_proposers(server)[0] == "lab/judge"
    assert server.requests[-1]["model"] == "lab/writer"


def test_a_line_ups_fallback_writes_when_its_aggregator_says_nothing(ask, together):
    server = of_the_default(together, writer=Reply(text=""))
    answer = ask(ChatMoA(), "Q")
    assert answer.text == f"reply of {DEFAULT.fallback_aggregators[0]}"
    assert asked_after_the_proposers(server) == [DEFAULT.aggregator, *DEFAULT.fallback_aggregators]
    assert answer.response_metadata["moa"]["degraded"][0]["reason"] == "aggregator_failed"


def test_the_cookbook_of_2026_is_four_models_one_of_which_writes(ask, together):
    server = together()
    ask(ChatMoA(model="cookbook-2026"), "Q")
    *proposers, writer = server.requests
    assert len(proposers) == 4
    assert writer["model"] in [body["model"] for body in proposers]
    assert sorted(map(sampling, proposers)) == [(0.7, 2048)] * 3 + [(0.7, 8192)]
