"""What any chat model can do: cached, serialized, copied, configured, retried, limited, listened to."""

import asyncio
import copy
import hashlib
import json
import pickle

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd, dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from pydantic import ValidationError

from langchain_moa import Aggregator, ChatMoA, Proposer, ProposersFailedError
from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE
from langchain_moa._models.factory import build_model
from langchain_moa._models.transport import http_clients
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply
from tests.traces import TreeTracer

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
OPTIONS = {"proposers": ["lab/a", "lab/b"], "aggregator": "lab/writer"}


def scripted(**options):
    """A proposer and an aggregator that count what they use, and their mixture."""
    proposer = ScriptedChatModel(reply="advice", usage=USAGE, model_name="lab/advisor")
    aggregator = ScriptedChatModel(reply="the end", usage=USAGE, model_name="lab/writer")
    return ChatMoA(proposers=[proposer], aggregator=aggregator, **options), proposer, aggregator


def digest(body):
    """Answer with a word that differs for any two requests, streamed or not."""
    body = {key: value for key, value in body.items() if not key.startswith("stream")}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def models_asked(server):
    return [body["model"].removeprefix("lab/") for body in server.requests]


# -- The LLM cache ---------------------------------------------------------------------------------------------------


@pytest.fixture
def llm_cache():
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("llm_cache")
@pytest.mark.parametrize("again", ["invoke", "ainvoke"])
def test_a_cached_answer_is_the_same_and_makes_no_call(together, again):
    server = together(digest)
    model = ChatMoA(**OPTIONS)
    first = model.invoke("Hi")
    server.reset()
    cached = model.invoke("Hi") if again == "invoke" else asyncio.run(model.ainvoke("Hi"))
    assert server.requests == []
    assert (cached.text, cached.tool_calls) == (first.text, first.tool_calls)
    assert cached.response_metadata == first.response_metadata
    # Core marks a hit so: it cost nothing.
    assert cached.usage_metadata == {**first.usage_metadata, "total_cost": 0}


@pytest.mark.usefixtures("llm_cache")
def test_another_question_or_argument_is_no_hit(ask, together):
    together(digest)
    model = ChatMoA(**OPTIONS)
    questions = [("Hi", {}), ("Hello", {}), ("Hi", {"stop": ["END"]}), ("Hi", {"seed": 1})]
    assert len({ask(model, text, **arguments).text for text, arguments in questions}) == len(questions)


VARIANTS = [
    OPTIONS,
    {**OPTIONS, "proposers": ["lab/b", "lab/a"]},
    {**OPTIONS, "proposers": ["lab/a"]},
    {**OPTIONS, "proposers": ["lab/a", "lab/a"]},
    {**OPTIONS, "proposers": ["lab/a", Proposer(model="lab/b", temperature=0.1)]},
    {**OPTIONS, "proposers": ["lab/a", Proposer(model="lab/b", max_tokens=5)]},
    {**OPTIONS, "proposers": ["lab/a", Proposer(model="lab/b", instructions="Rhyme.")]},
    {**OPTIONS, "proposers": ["lab/a", Proposer(model="lab/b", instructions="Be brief.")]},
    {**OPTIONS, "proposers": ["lab/a", Proposer(model="lab/b", samples=2)]},
    {**OPTIONS, "aggregator": "lab/a"},
    {**OPTIONS, "aggregator": Aggregator(model="lab/writer", temperature=0.1)},
    {**OPTIONS, "aggregator": Aggregator(model="lab/writer", max_tokens=5)},
    {**OPTIONS, "aggregator": Aggregator(model="lab/writer", instructions="Rhyme.")},
    {**OPTIONS, "rounds": 2},
    {**OPTIONS, "rounds": 3},
    {"layers": [["lab/a"], ["lab/b"]], "aggregator": "lab/writer"},
    {**OPTIONS, "temperature": 0.0},
    {**OPTIONS, "max_tokens": 7},
    {**OPTIONS, "reference_placement": "tail"},
    {**OPTIONS, "fan_out": lambda messages: False},
]


@pytest.mark.usefixtures("llm_cache")
def test_two_different_line_ups_never_share_an_entry(together):
    """Every request has a reply of its own, so that an entry shared by two shows as one text."""
    together(digest)
    answers = [ChatMoA(**options).invoke("Hi").text for options in VARIANTS]
    set_llm_cache(None)
    assert answers == [ChatMoA(**options).invoke("Hi").text for options in VARIANTS]
    assert len(set(answers)) == len(VARIANTS)


@pytest.mark.usefixtures("llm_cache")
def test_models_that_stop_elsewhere_share_no_entry(together):
    """Core writes the call's `stop` over a parameter of that name in a model's own."""
    together(digest)
    assert ChatMoA(**OPTIONS).invoke("Hi").text != ChatMoA(**OPTIONS, stop=["END"]).invoke("Hi").text


@pytest.mark.usefixtures("llm_cache")
def test_models_of_one_name_on_two_servers_share_no_entry():
    with OpenAIServer(lambda body: "first") as first, OpenAIServer(lambda body: "second") as second:
        # ChatOpenAI tells its servers apart in its own key, ChatTogether (0.4) does not.
        models = [ChatOpenAI(model="lab/a", base_url=s.url, api_key="k", **http_clients()) for s in (first, second)]
        answers = [ChatMoA(proposers=[model], aggregator=model).invoke("Hi").text for model in models]
    assert answers == ["first", "second"]


@pytest.mark.usefixtures("llm_cache")
def test_two_runnables_of_one_name_share_no_entry():
    def proposing(text):
        def propose(messages):
            return AIMessage(text)

        return RunnableLambda(propose)

    echo = ScriptedChatModel(reply=lambda messages: messages[0].text.splitlines()[-1])
    models = [ChatMoA(proposers=[proposing(text)], aggregator=echo) for text in ("one", "two")]
    answers = [model.invoke("Hi").text for model in models]
    assert answers == ["1. one", "1. two"]


@pytest.mark.usefixtures("llm_cache")
def test_a_cached_answer_has_the_references_when_they_are_asked_for(together):
    together()
    ChatMoA(**OPTIONS).invoke("Hi")
    moa = ChatMoA(**OPTIONS, include_references=True).invoke("Hi").response_metadata["moa"]
    assert [call["text"] for call in moa["layers"][0]] == ["reply of lab/a", "reply of lab/b"]


@pytest.mark.usefixtures("llm_cache")
@pytest.mark.parametrize("kind", ["string", "object", "object twice"])
def test_samples_of_one_proposer_stay_different_samples(together, kind):
    """Their requests are the same: a cache would make them one."""
    numbers = iter(range(100))
    server = together(lambda body: f"sample {next(numbers)}")
    model = "lab/a" if kind == "string" else ChatTogether(model="lab/a", **http_clients())
    # An answer that the cache knows already: else two calls at once could both miss it.
    known = build_model(model, temperature=0.7, max_tokens=2048, timeout=120) if kind == "string" else model
    known.invoke("Hi")
    proposers = [model, model] if kind == "object twice" else [Proposer(model=model, samples=2)]
    ChatMoA(proposers=proposers, aggregator="lab/writer").invoke("Hi")
    references = server.requests[-1]["messages"][0]["content"].splitlines()[-2:]
    assert len({line.partition(". ")[2] for line in references}) == 2


@pytest.mark.usefixtures("llm_cache")
@pytest.mark.parametrize("first", ["stream", "invoke"])
def test_streams_and_whole_answers_do_not_disturb_each_other_in_the_cache(together, first):
    together(digest)
    model = ChatMoA(**OPTIONS)
    ways = {
        "stream": lambda: "".join(chunk.text for chunk in model.stream("Hi")),
        "invoke": lambda: model.invoke("Hi").text,
    }
    texts = [ways[way]() for way in (first, *ways, *ways)]
    assert len(set(texts)) == 1
    assert len(texts[0]) == 12


def test_a_mixture_may_have_a_cache_of_its_own(together):
    server = together(digest)
    model = ChatMoA(**OPTIONS, cache=InMemoryCache())
    assert model.invoke("Hi").text == model.invoke("Hi").text
    assert len(server.requests) == 3


@pytest.mark.usefixtures("llm_cache")
def test_without_a_cache_every_call_is_made(together):
    server = together(digest)
    model = ChatMoA(**OPTIONS, cache=False)
    model.invoke("Hi")
    model.invoke("Hi")
    assert sorted(models_asked(server)) == ["a", "a", "b", "b", "writer", "writer"]


# -- Serialized and copied -------------------------------------------------------------------------------------------


def as_configuration(model):
    return ChatMoA(**{name: getattr(model, name) for name in ("proposers", "aggregator", "rounds", "temperature")})


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "model_copy": lambda model: model.model_copy(),
    "model_copy, deep": lambda model: model.model_copy(deep=True),
    "its fields": as_configuration,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_asks_the_same(together, copied):
    server = together(digest)
    personas = [Proposer(model="lab/a", samples=2, temperature=1.0), Proposer(model="lab/b", instructions="Rhyme.")]
    writer = Aggregator(model="lab/writer", temperature=0.9, instructions="Sing.")
    model = ChatMoA(proposers=personas, aggregator=writer, rounds=2, temperature=0.3)
    asked = []
    for one in (model, copied(model), copied(copied(model))):
        server.reset()
        one.invoke("Hi")
        asked.append(sorted(json.dumps(body, sort_keys=True) for body in server.requests))
    assert len(asked[0]) == 7
    assert asked[0] == asked[1] == asked[2]


def test_a_copy_may_have_other_options_and_the_first_keeps_its_own(together):
    server = together()
    model = ChatMoA(**OPTIONS, tags=["mine"])
    changed = model.model_copy(update={"proposers": ["lab/c"], "temperature": 0.1})
    changed.invoke("Hi")
    assert [(body["model"], body["temperature"]) for body in server.requests] == [("lab/c", 0.1), ("lab/writer", 0.1)]
    assert (changed.tags, model.proposers) == (["mine"], ["lab/a", "lab/b"])


def test_a_bound_model_survives_pickling(together):
    together({"lab/a": "a", "lab/b": "b", "lab/writer": "done"})
    bound = ChatMoA(**OPTIONS).bind_tools([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    assert pickle.loads(pickle.dumps(bound)).invoke("Hi").text == "done"


def test_keys_are_in_no_serialized_form_no_trace_and_no_error(ask, together, monkeypatch):
    server = together({"lab/a": Reply(status=401, error="no"), "lab/own": "own", "lab/writer": "done"})
    monkeypatch.setenv("TOGETHER_API_KEY", "key-of-the-environment")
    own = ChatTogether(model="lab/own", api_key="key-of-the-object", **http_clients())
    model, tracer = ChatMoA(proposers=["lab/a", own], aggregator="lab/writer"), TreeTracer()
    answer = ask(model, "Hi", {"callbacks": [tracer]})
    with pytest.raises(ProposersFailedError) as error:
        ask(ChatMoA(proposers=["lab/a"], aggregator=own), "Hi")
    sent = {headers["authorization"] for headers in server.headers}
    assert sent == {"Bearer key-of-the-environment", "Bearer key-of-the-object"}
    shown = [
        dumps(model),
        str(dumpd(model)),
        repr(model),
        str(model.asdict()),
        model._get_llm_string(),
        str([run.model_dump() for run in tracer.runs()]),
        str(answer),
        str(error.value),
        repr(error.value.errors),
    ]
    assert [text for text in shown if "key-of" in text] == []
    assert b"key-of-the-environment" not in pickle.dumps(ChatMoA(**OPTIONS))


# -- Wrapped ---------------------------------------------------------------------------------------------------------


def failing(error, times=1):
    """A mixture whose aggregator fails at first, and its aggregator."""
    left = iter([error] * times)

    def reply(messages):
        if (now := next(left, None)) is not None:
            raise now
        return "at last"

    aggregator = ScriptedChatModel(reply=reply)
    return ChatMoA(proposers=[ScriptedChatModel()], aggregator=aggregator), aggregator


def test_with_retry_tries_again(ask):
    model, aggregator = failing(ConnectionError("down"))
    retrying = model.with_retry(
        retry_if_exception_type=(ConnectionError,), wait_exponential_jitter=False, stop_after_attempt=2
    )
    # A stream is not tried again by LangChain, whose chunks may have been heard already.
    if "stream" in ask.__name__:
        with pytest.raises(ConnectionError):
            ask(retrying, "Hi")
    else:
        assert ask(retrying, "Hi").text == "at last"
        assert len(aggregator.seen) == 2


@pytest.mark.parametrize("broken", ["proposers", "aggregator"])
def test_with_fallbacks_the_next_model_answers(ask, broken):
    bad, good = ScriptedChatModel(error=ConnectionError("down")), ScriptedChatModel(reply="never")
    members = {"proposers": [good], "aggregator": good} | {broken: [bad] if broken == "proposers" else bad}
    answer = ask(ChatMoA(**members).with_fallbacks([scripted()[0]]), "Hi")
    assert answer.text == "the end"
    assert answer.usage_metadata["total_tokens"] == 30


def test_a_mixture_is_a_fallback_with_tools_bound(ask, together):
    server = together(lambda body: Reply(status=500) if body["model"] == "lab/first" else "saved")
    first = ChatTogether(model="lab/first", max_retries=0, **http_clients())
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    answer = ask(first.with_fallbacks([ChatMoA(**OPTIONS)]).bind_tools([tool]), "Hi")
    assert answer.text == "saved"
    assert server.requests[-1]["tools"][0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_the_providers_own_error_types_pass_through(ask, together, status, error):
    """Peer bug 5 (swarms, optillm): the text of an error was returned as if it were an answer."""
    server = together(
        lambda body: Reply(status=status, headers={"Retry-After": "0.001"}) if "writer" in body["model"] else "advice"
    )
    with pytest.raises(error):
        ask(ChatMoA(**OPTIONS), "Hi")
    assert models_asked(server).count("a") == 1


@pytest.mark.parametrize("fault", ["drop", "bad_json", "empty_choices", "error_event"])
def test_a_broken_reply_of_a_proposer_is_never_content(ask, together, fault):
    """Peer bug 5 (swarms, optillm)."""
    server = together({"lab/a": Reply(text="half an answer", fault=fault), "lab/b": "whole", "lab/writer": "done"})
    model = ChatMoA(
        proposers=[ChatTogether(model="lab/a", max_retries=0, **http_clients()), "lab/b"], aggregator="lab/writer"
    )
    answer = ask(model, "Hi")
    assert server.requests[-1]["messages"][0]["content"] == AGGREGATE_AND_SYNTHESIZE + "\n1. whole"
    assert answer.text == "done"
    assert [call["status"] for call in answer.response_metadata["moa"]["layers"][0]] == ["failed", "ok"]


def test_fields_may_be_configured_per_call(ask):
    model, proposer, _ = scripted()
    configurable = model.configurable_fields(rounds=ConfigurableField("rounds"), stop=ConfigurableField("stop"))
    ask(configurable, "Hi")
    ask(configurable, "Hi", {"configurable": {"rounds": 3}})
    assert len(proposer.seen) == 1 + 3
    with pytest.raises(ValidationError, match="rounds"):
        ask(configurable, "Hi", {"configurable": {"rounds": 0}})


def test_the_line_up_may_be_configured_per_call(ask, together):
    server = together()
    model = ChatMoA(model="cookbook").configurable_fields(model=ConfigurableField("model"))
    assert ask(model, "Hi").response_metadata["model_name"] == "cookbook"
    assert len(server.requests) == 5
    server.reset()
    answer = ask(model, "Hi", {"configurable": {"model": "together-moa-lite"}})
    assert answer.response_metadata["model_name"] == "together-moa-lite"
    assert len(server.requests) == 7


def test_it_is_one_of_configurable_alternatives(ask):
    model, *_ = scripted()
    plain = ScriptedChatModel(reply="plain")
    either = plain.configurable_alternatives(ConfigurableField("llm"), default_key="plain", moa=model)
    assert ask(either, "Hi").text == "plain"
    assert ask(either, "Hi", {"configurable": {"llm": "moa"}}).text == "the end"


# -- Limited, measured, listened to ----------------------------------------------------------------------------------


class Gate(BaseRateLimiter):
    """Lets everyone pass, and counts."""

    passed = 0

    def acquire(self, *, blocking=True):
        self.passed += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire()


def test_the_rate_limiter_is_asked_once_per_call(ask):
    gate = Gate()
    model, *_ = scripted(rate_limiter=gate, rounds=2)
    for _ in range(3):
        ask(model, "Hi")
    assert gate.passed == 3


def test_a_rate_limiter_of_a_member_is_asked_for_each_of_its_calls(ask):
    gate = Gate()
    proposer = ScriptedChatModel(rate_limiter=gate)
    ask(ChatMoA(proposers=[Proposer(model=proposer, samples=2)], rounds=3, aggregator=ScriptedChatModel()), "Hi")
    assert gate.passed == 6


@pytest.mark.parametrize(
    ("proposers", "aggregator", "profile"),
    [
        ([{"max_input_tokens": 50}], {"max_input_tokens": 100, "tool_calling": True}, (50, True)),
        ([{"max_input_tokens": 500, "tool_calling": False}, None, {}], {"max_input_tokens": 100}, (100, None)),
        ([{"max_input_tokens": 50}], {"tool_calling": False}, (50, False)),
        ([{"tool_calling": True}], {"image_inputs": True}, (None, None)),
    ],
)
def test_the_profile_is_the_aggregators_with_the_smallest_window_of_all(proposers, aggregator, profile):
    members = [ScriptedChatModel(profile=known) for known in proposers]
    model = ChatMoA(proposers=members, aggregator=ScriptedChatModel(profile=aggregator))
    assert (model.profile.get("max_input_tokens"), model.profile.get("tool_calling")) == profile
    assert set(aggregator) <= set(model.profile)


def test_a_profile_that_the_user_gives_counts_and_an_unknown_one_stays_unknown():
    assert scripted(profile={"max_input_tokens": 7})[0].profile == {"max_input_tokens": 7}
    assert scripted()[0].profile is None
    given = scripted(profile={"max_input_tokens": 7})[0]
    assert copy.copy(given).profile == {"max_input_tokens": 7}


def test_tokens_are_counted_offline():
    model, *_ = scripted()
    assert 0 < model.get_num_tokens("one two three") < model.get_num_tokens("one two three " * 50)
    conversation = [SystemMessage("Be brief."), HumanMessage("Hi")]
    plain = model.get_num_tokens_from_messages(conversation)
    assert model.get_num_tokens_from_messages(conversation, tools=[{"name": "f", "description": "x" * 99}]) > plain > 2


class Listening(BaseCallbackHandler):
    """Keeps what it hears."""

    def __init__(self):
        self.starts, self.ends, self.progress = [], [], []

    def on_chat_model_start(self, serialized, messages, *, tags=None, metadata=None, **kwargs):
        self.starts.append((tags, metadata))

    def on_llm_end(self, response, **kwargs):
        self.ends.append(response.generations[0][0].message)

    def on_custom_event(self, name, data, **kwargs):
        self.progress.append(name)


def test_callbacks_tags_and_metadata_of_the_constructor_reach_its_handlers(ask):
    handler = Listening()
    model, *_ = scripted(callbacks=[handler], tags=["mine"], metadata={"team": "blue"})
    ask(model, "Hi", {"tags": ["call"], "metadata": {"user": "u1"}})
    ((tags, metadata),) = handler.starts
    assert set(tags) == {"mine", "call"}
    assert {"team": "blue", "user": "u1"}.items() <= metadata.items()
    assert [message.text for message in handler.ends] == ["the end"]


def test_a_handler_of_the_constructor_hears_of_progress(ask):
    handler = Listening()
    ask(scripted(callbacks=[handler])[0], "Hi")
    assert set(handler.progress) == {"moa_proposer_start", "moa_proposer_end", "moa_layer_end", "moa_aggregator_start"}


def test_a_usage_handler_of_the_constructor_counts_every_call(ask):
    usage = UsageMetadataCallbackHandler()
    ask(scripted(callbacks=[usage])[0], "Hi")
    assert usage.usage_metadata == {"lab/advisor": USAGE, "lab/writer": USAGE}


def test_a_tracer_of_the_constructor_sees_the_inside(ask):
    tracer = TreeTracer()
    ask(scripted(callbacks=[tracer])[0], "Hi")
    assert len(tracer.roots) == 1
    assert [name for _, kind, name in tracer.tree() if kind == "llm"] == ["ChatMoA", "advisor", "aggregator"]


def test_verbose_changes_no_answer(ask, capsys):
    assert ask(scripted(verbose=True)[0], "Hi").text == "the end"
    assert "advice" not in capsys.readouterr().out


# -- What peers got wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["system", "tail"])
@pytest.mark.parametrize("tools", [[], [{"type": "function", "function": {"name": "f", "parameters": {}}}]])
def test_the_aggregators_request_has_every_surviving_proposal(ask, together, placement, tools):
    """Peer bug 3 (the LlamaIndex pack): the last step asked its model without any proposal."""
    proposals = {f"lab/{name}": f"proposal {name}" for name in "abcd"}
    server = together({**proposals, "lab/bad": Reply(status=400), "lab/writer": "done"})
    model = ChatMoA(
        proposers=["lab/a", "lab/b", "lab/bad", "lab/c", "lab/d"],
        aggregator="lab/writer",
        reference_placement=placement,
    )
    ask(model, "Hi", tools=tools)
    request = server.requests[-1]["messages"][0 if placement == "system" else -1]["content"]
    numbered = "".join(f"\n{number}. {text}" for number, text in enumerate(proposals.values(), 1))
    assert request.endswith("Responses from models:" + numbered)


@pytest.mark.parametrize(
    "arguments",
    [{"reasoning_effort": "high"}, {"temperature": 0.0}, {"extra_body": {"thinking": True}}, {"max_tokens": 3}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_proposers_do_not_inherit_the_callers_arguments(ask, together, arguments):
    """Peer bug 12 (Hermes): a global reasoning effort was multiplied into every adviser."""
    server = together()
    model = ChatMoA(**OPTIONS, rounds=2)
    ask(model.bind(**arguments), "Hi")
    *proposers, writer = server.requests
    (name, value), *_ = arguments.items()
    sent = value if name == "extra_body" else arguments
    assert sent.items() <= writer.items()
    for body in proposers:
        assert (body["temperature"], body["max_tokens"]) == (0.7, 2048)
        assert not {"reasoning_effort", "thinking"} & set(body)


def test_a_proposers_max_tokens_do_not_cap_the_answer(ask, together):
    """Peer bug 13 (Hermes 53580): one cap for the advisers also cut off the final answer."""
    server = together()
    model = ChatTogether(model="lab/a", **http_clients())
    proposers = [Proposer(model=model, max_tokens=5), Proposer(model="lab/b", max_tokens=6)]
    # The same object is proposer and aggregator.
    ask(ChatMoA(proposers=proposers, aggregator=model), "Hi")
    *both, writer = server.requests
    assert sorted(body["max_tokens"] for body in both) == [5, 6]
    assert "max_tokens" not in writer


def test_objects_that_configure_a_mixture_can_be_used_twice(ask, together):
    """Peer bug 19 (groq-moa): the configuration was emptied by its first use."""
    server = together(digest)
    tool = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}}}
    options = {"proposers": ["lab/a", Proposer(model="lab/b", samples=2)], "aggregator": "lab/writer", "stop": ["END"]}
    arguments = {"tools": [tool], "logit_bias": {"1": 2}, "stop": ["X"]}
    config = {"tags": ["mine"], "metadata": {"user": "u1"}, "callbacks": [], "configurable": {"thread_id": "1"}}
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    before = copy.deepcopy((options, arguments, config, conversation))
    asked = []
    used_twice = ChatMoA(**options)
    for model in (used_twice, used_twice, ChatMoA(**options)):
        server.reset()
        ask(model, conversation, config, **arguments)
        asked.append(sorted(json.dumps(body, sort_keys=True) for body in server.requests))
    assert (options, arguments, config, conversation) == before
    assert len(asked[0]) == 4
    assert asked[0] == asked[1] == asked[2]


def test_a_list_that_changes_later_changes_no_mixture(ask):
    """Peer bug 19 (groq-moa)."""
    _, proposer, aggregator = scripted()
    proposers = [proposer]
    model = ChatMoA(proposers=proposers, aggregator=aggregator)
    proposers.append(ScriptedChatModel(reply="late"))
    ask(model, "Hi")
    ask(model.model_copy(), "Hi")
    assert [seen[0].text for seen in aggregator.seen] == [AGGREGATE_AND_SYNTHESIZE + "\n1. advice"] * 2


@pytest.mark.parametrize("rounds", [1, 2])
def test_fewer_survivors_are_shown_as_fewer(ask, rounds):
    """Peer bug 20 (optillm): missing candidates were padded with copies of the first, which looks like consensus."""
    members = [
        ScriptedChatModel(reply="the only one"),
        ScriptedChatModel(error=ValueError("no")),
        ScriptedChatModel(reply=""),
        ScriptedChatModel(reply="<think>lost"),
    ]
    aggregator = ScriptedChatModel()
    moa = ask(ChatMoA(proposers=members, aggregator=aggregator, rounds=rounds), "Hi").response_metadata["moa"]
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. the only one"
    assert [[call["status"] for call in layer] for layer in moa["layers"]] == [
        ["ok", "failed", "empty", "empty"]
    ] * rounds
    assert len(moa["degraded"]) == 3 * rounds


def test_every_round_is_asked_exactly_once_however_many_there_are(ask):
    """Peer bug 21 (llm_consensus): a loop without bound. LangGraph's own bound, 25 steps, must not cut ours short."""
    proposer = FakeListChatModel(responses=["again"])
    answer = ask(ChatMoA(proposers=[proposer], aggregator=FakeListChatModel(responses=["end"]), rounds=40), "Hi")
    assert answer.text == "end"
    assert len(answer.response_metadata["moa"]["layers"]) == 40


@pytest.mark.parametrize("rounds", [float("inf"), -1, "many"])
def test_rounds_without_end_are_refused(rounds):
    """Peer bug 21 (llm_consensus)."""
    with pytest.raises(ValidationError, match="rounds"):
        scripted(rounds=rounds)
