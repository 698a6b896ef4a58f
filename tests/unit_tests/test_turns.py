"""When the proposers are asked, and the references that the later steps of a user's turn use again."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

import pytest
from langchain.agents import create_agent
from langchain.chat_models import base, init_chat_model
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool

from langchain_moa import ChatMoA, ProposersFailedError, register
from langchain_moa._runtime import turn_references as turns
from tests.fakes import CallingChatModel, ScriptedChatModel
from tests.openai_server import Reply

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look it up."}}]


class Recovering(ScriptedChatModel):
    """Fails a few times, and is well again."""

    failures: int

    def _answer(self, *args):
        text = super()._answer(*args)
        if len(self.seen) <= self.failures:
            raise ConnectionError("500")
        return text


def council(*, fan_out="auto", **options):
    """Two proposers that name the question they heard, an aggregator that calls a tool, and their mixture."""
    members = [
        ScriptedChatModel(reply=lambda messages, n=name: f"{n} on {question(messages)}", model_name=name, usage=USAGE)
        for name in ("one", "two")
    ]
    aggregator = CallingChatModel(reply="done", usage=USAGE)
    return ChatMoA(proposers=members, aggregator=aggregator, fan_out=fan_out, **options), members, aggregator


def question(messages):
    """Return the first line of the latest user's turn that is no tool result."""
    said = [message.text for message in messages if message.type == "human" and not message.text.startswith("[tool")]
    return said[-1].partition("\n")[0]


def step(answer):
    """Return what one step of an agent adds to the conversation: the answer, and the results of its tools."""
    return [answer, *(ToolMessage("result", tool_call_id=call["id"]) for call in answer.tool_calls)]


def foreign_step(id_="call_1"):
    """Return a step that nobody here has answered."""
    return step(AIMessage("", tool_calls=[{"id": id_, "name": "look_up", "args": {"n": 1}}]))


def bare(answer):
    """Return an answer as a client that knows no metadata gives it back."""
    return AIMessage(answer.content, tool_calls=[{**call, "type": "tool_call"} for call in answer.tool_calls])


carried = pytest.mark.parametrize("carry", [lambda answer: answer, bare], ids=["whole", "without metadata"])
"""How the answer comes back with the next step."""


def go_on(ask, model, conversation, steps=3, carry=lambda answer: answer, config=None, **options):
    """Ask, and go on from each answer."""
    conversation = list(conversation)
    answers = []
    for _ in range(steps):
        answers.append(ask(model, conversation, config, **options))
        conversation += step(carry(answers[-1]))
    return answers


def asked(members):
    return [len(member.seen) for member in members]


def calls_of(answer):
    return answer.response_metadata["moa"]["layers"][0]


# -- When they are asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fan_out", "tools", "times"),
    [
        ("always", [], 3),
        ("always", TOOLS, 3),
        ("user_turn", [], 1),
        ("user_turn", TOOLS, 1),
        ("auto", [], 3),
        ("auto", TOOLS, 1),
        (lambda messages: True, TOOLS, 3),
        (lambda messages: messages[-1].type == "human", TOOLS, 1),
        (lambda messages: False, TOOLS, 0),
    ],
    ids=[
        "always",
        "always, with tools",
        "user_turn",
        "user_turn, with tools",
        "auto",
        "auto, with tools",
        "a rule that says yes",
        "a rule that looks at the messages",
        "a rule that says no",
    ],
)
def test_over_the_three_steps_of_a_turn_proposers_are_asked_as_fan_out_says(ask, fan_out, tools, times):
    model, members, aggregator = council(fan_out=fan_out)
    answers = go_on(ask, model, [HumanMessage("Q")], tools=tools)
    assert asked(members) == [times, times]
    has_token = times == 1 and isinstance(fan_out, str)
    assert ["turn" in answer.response_metadata["moa"] for answer in answers] == [has_token] * 3
    assert len(aggregator.seen) == 3


def test_left_out_by_a_rule_the_aggregator_answers_alone_and_nothing_is_degraded(ask):
    model, members, aggregator = council(fan_out=lambda messages: len(messages) > 1, rounds=2)
    answer = ask(model, "Q")
    assert asked(members) == [0, 0]
    assert [message.text for message in aggregator.seen[0]] == ["Q"]
    moa = answer.response_metadata["moa"]
    assert [[call["status"] for call in layer] for layer in moa["layers"]] == [["skipped"] * 2] * 2
    assert moa["degraded"] == []
    assert answer.usage_metadata == USAGE


def test_a_rule_is_asked_once_per_call_with_the_callers_messages(ask):
    """Asked by each proposer, a rule such as one call in five at random would leave out some and not others."""
    heard = []
    model, *_ = council(fan_out=lambda messages: heard.append(messages) or True, rounds=2)
    ask(model, [SystemMessage("Be brief."), HumanMessage("Q")])
    assert [[message.text for message in messages] for messages in heard] == [["Be brief.", "Q"]]


def test_an_error_of_a_rule_is_the_callers(ask):
    def rule(messages):
        raise LookupError("no rule")

    with pytest.raises(LookupError, match="no rule"):
        ask(council(fan_out=rule)[0], "Q")


# -- What is used again ----------------------------------------------------------------------------------------------


@carried
def test_later_steps_see_the_turns_references_again(ask, carry):
    model, members, aggregator = council(rounds=2)
    go_on(ask, model, [HumanMessage("Q")], carry=carry, tools=TOOLS)
    assert asked(members) == [2, 2]  # once in each round
    assert [seen[-1].text.splitlines()[-2:] for seen in aggregator.seen] == [["1. one on Q", "2. two on Q"]] * 3


def test_what_is_used_again_is_named_and_its_usage_is_not_counted_twice(ask):
    model, *_ = council()
    first, again = go_on(ask, model, [HumanMessage("Q")], 2, tools=TOOLS)
    assert first.usage_metadata["total_tokens"] == 3 * 15
    assert again.usage_metadata == USAGE
    assert not any("reused" in call for call in calls_of(first))
    assert [(call["proposer"], call["status"], call["usage"], call["reused"]) for call in calls_of(again)] == [
        ("one", "ok", None, True),
        ("two", "ok", None, True),
    ]
    assert again.response_metadata["moa"]["degraded"] == []


def test_texts_are_in_the_metadata_of_later_steps_too(ask):
    model, *_ = council(include_references=True)
    _, again = go_on(ask, model, [HumanMessage("Q")], 2, tools=TOOLS)
    assert [call["text"] for call in calls_of(again)] == ["one on Q", "two on Q"]


def test_a_failed_proposer_is_asked_again_at_the_next_step_and_the_others_are_not(ask):
    good, bad = ScriptedChatModel(reply="good"), Recovering(failures=2, model_name="bad")
    model = ChatMoA(proposers=[good, bad], aggregator=CallingChatModel())
    answers = go_on(ask, model, [HumanMessage("Q")], 4, tools=TOOLS)
    assert asked([good, bad]) == [1, 3]
    statuses = [[call["status"] for call in calls_of(answer)] for answer in answers]
    assert statuses == [["ok", "failed"], ["ok", "failed"], ["ok", "ok"], ["ok", "ok"]]
    reused = [["reused" in call for call in calls_of(answer)] for answer in answers]
    assert reused == [[False, False], [True, False], [True, False], [True, True]]
    failed = [{"reason": "proposer_failed", "layer": 1, "proposer": "bad"}]
    assert [answer.response_metadata["moa"]["degraded"] for answer in answers] == [failed, failed, [], []]


@pytest.mark.parametrize("fan_out", ["user_turn", "auto"])
def test_a_new_message_of_the_user_asks_again(ask, fan_out):
    model, members, aggregator = council(fan_out=fan_out)
    first = ask(model, [HumanMessage("Q1")], tools=TOOLS)
    conversation = [HumanMessage("Q1"), *step(first), AIMessage("A1"), HumanMessage("Q2")]
    go_on(ask, model, conversation, 2, tools=TOOLS)
    assert asked(members) == [2, 2]
    assert "1. one on Q2" in aggregator.seen[2][-1].text
    assert "on Q1" not in aggregator.seen[2][-1].text


def test_the_same_question_asked_anew_is_asked_anew_of_every_proposer(ask):
    """Often, because a race between the proposers of a layer decides."""
    model, members, _ = council()
    for _ in range(10):
        ask(model, [HumanMessage("Q")], tools=TOOLS)
    assert asked(members) == [10, 10]


def test_a_question_whose_answer_failed_is_asked_anew_of_every_proposer(ask):
    """Nothing tells it from a stranger's with the same words."""
    model, members, aggregator = council()
    aggregator.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        ask(model, [HumanMessage("Q")], tools=TOOLS)
    aggregator.error = None
    answer = ask(model, [HumanMessage("Q")], tools=TOOLS)
    assert asked(members) == [2, 2]
    assert aggregator.seen[1][-1].text.endswith("1. one on Q\n2. two on Q")
    assert not any("reused" in call for call in calls_of(answer))


@carried
def test_a_later_step_whose_answer_failed_is_tried_again_with_the_references_that_are_there(ask, carry):
    model, members, aggregator = council()
    first = ask(model, [HumanMessage("Q")], tools=TOOLS)
    conversation = [HumanMessage("Q"), *step(carry(first))]
    aggregator.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        ask(model, conversation, tools=TOOLS)
    aggregator.error = None
    answer = ask(model, conversation, tools=TOOLS)
    assert asked(members) == [1, 1]
    assert all(call["reused"] for call in calls_of(answer))


@carried
def test_a_step_whose_turn_is_not_known_asks(ask, carry):
    """As after a restart: the references are of this process."""
    model, members, aggregator = council()
    go_on(ask, model, [HumanMessage("Q"), *foreign_step()], 2, carry, tools=TOOLS)
    assert asked(members) == [1, 1]
    assert aggregator.seen[1][-1].text.endswith("1. one on Q\n2. two on Q")


@pytest.mark.parametrize(
    "other",
    [
        [HumanMessage("Q2")],
        [SystemMessage("Be brief."), HumanMessage("Q")],
        [HumanMessage("Q"), AIMessage("A"), HumanMessage("Q")],
        [HumanMessage("Q"), *foreign_step(), HumanMessage("Q")],
        [HumanMessage([{"type": "text", "text": "Q"}, {"type": "image", "url": "http://127.0.0.1/cat.png"}])],
    ],
    ids=["another question", "a system message", "a longer history", "other tool calls", "an image"],
)
def test_two_conversations_do_not_mix(ask, other):
    """Even with the same ids of calls: without metadata these prove a step only together with the words."""
    model, members, _ = council()
    answer = ask(model, [HumanMessage("Q")], tools=TOOLS)
    ask(model, [*other, *step(bare(answer))], tools=TOOLS)
    assert asked(members) == [2, 2]


@carried
def test_ids_and_metadata_of_messages_make_no_other_turn(ask, carry):
    """An agent's checkpointer gives messages ids, and a middleware may leave its marks."""
    model, members, _ = council()
    answer = ask(model, [HumanMessage("Q")], tools=TOOLS)
    ask(model, [HumanMessage("Q", id="1", additional_kwargs={"seen": True}), *step(carry(answer))], tools=TOOLS)
    assert asked(members) == [1, 1]


@carried
def test_ids_of_blocks_make_no_other_turn(ask, carry):
    """Core translates some blocks of OpenAI's at every call, and gives each a new id."""
    model, members, _ = council()
    hear = [{"type": "text", "text": "Q"}, {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]
    go_on(ask, model, [HumanMessage(hear)], 2, carry, tools=TOOLS)
    assert asked(members) == [1, 1]


@carried
def test_a_mixture_of_other_proposers_asks_its_own(ask, carry):
    first, *_ = council()
    members = [ScriptedChatModel(model_name="three")]
    second = ChatMoA(proposers=members, aggregator=CallingChatModel())
    answer = ask(first, [HumanMessage("Q")], tools=TOOLS)
    ask(second, [HumanMessage("Q"), *step(carry(answer))], tools=TOOLS)
    assert asked(members) == [1]


@carried
def test_two_models_built_alike_share_what_belongs_to_the_same_turn(ask, carry):
    (first, *_), (second, members, aggregator) = council(), council()
    answer = ask(first, [HumanMessage("Q")], tools=TOOLS)
    ask(second, [HumanMessage("Q"), *step(carry(answer))], tools=TOOLS)
    assert asked(members) == [0, 0]
    assert aggregator.seen[0][-1].text.endswith("1. one on Q\n2. two on Q")


def test_the_oldest_turns_are_forgotten_and_asked_again(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_KEPT", 4)  # an answer has two keys: its token, and the ids of its calls
    model, members, _ = council()
    answers = {name: model.invoke([HumanMessage(name)], tools=TOOLS) for name in ("Q1", "Q2", "Q3")}
    for name, times in (("Q3", 3), ("Q1", 4)):
        model.invoke([HumanMessage(name), *step(answers[name])], tools=TOOLS)
        assert asked(members) == [times, times]


def test_a_turn_that_goes_on_is_not_forgotten_for_newer_ones(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_KEPT", 4)
    model, members, _ = council()
    conversation = [HumanMessage("long")]
    conversation += step(model.invoke(conversation, tools=TOOLS))
    for number in range(3):
        model.invoke([HumanMessage(f"short {number}")], tools=TOOLS)
        conversation += step(model.invoke(conversation, tools=TOOLS))
    assert asked(members) == [4, 4]


def test_the_memory_of_turns_is_bounded(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_KEPT", 20)
    model, *_ = council()
    for number in range(50):
        go_on(ChatMoA.invoke, model, [HumanMessage(str(number))], 2, tools=TOOLS)
        assert len(turns.turn_references._kept) <= 20


def test_no_reference_is_kept_where_the_proposers_are_asked_at_every_call(ask):
    before = set(turns.turn_references._kept)
    go_on(ask, council()[0], [HumanMessage("Q")], 2)
    assert set(turns.turn_references._kept) <= before


# -- Whose they are ---------------------------------------------------------------------------------------------------

WHO = ContextVar("who", default="nobody")


def advisers(number=2):
    """Proposers that know whom they advise: from a context variable, or from the config."""

    def advise(_, config):
        return f"{config['configurable'].get('user_id') or WHO.get()}'s balance"

    return [RunnableLambda(advise, name=f"adviser_{place}") for place in range(number)]


def bank(**options):
    aggregator = CallingChatModel(reply="done")
    return ChatMoA(proposers=advisers(), aggregator=aggregator, **options), aggregator


def seen_balances(aggregator):
    """Return whose balances the aggregator saw, by call."""
    names = ("alice", "bob")
    return [
        {name for name in names if any(f"{name}'s balance" in message.text for message in seen)}
        for seen in aggregator.seen
    ]


def as_user(name, ask, *args, **kwargs):
    """Ask with a context variable that tells who asks."""
    context = copy_context()
    context.run(WHO.set, name)
    return context.run(ask, *args, **kwargs)


def has_no_result(messages):
    return not any(message.type == "tool" for message in messages)


BALANCE = [HumanMessage("What is my balance?")]


@pytest.mark.parametrize("options", [{}, {"fan_out": "user_turn"}], ids=["tools", "user_turn"])
def test_the_same_words_of_another_user_never_get_the_first_ones_references(ask, options):
    model, aggregator = bank(**options)
    tools = {} if options else {"tools": TOOLS}
    as_user("alice", ask, model, BALANCE, **tools)
    as_user("bob", ask, model, BALANCE, **tools)
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}]


def test_the_same_words_of_another_user_while_the_first_call_is_in_flight():
    model, aggregator = bank(fan_out="user_turn")
    is_in, released = threading.Event(), threading.Event()

    def wait(messages):
        is_in.set()
        released.wait(10)
        return "done"

    aggregator.reply = wait
    with ThreadPoolExecutor(2) as pool:
        alice = pool.submit(as_user, "alice", ChatMoA.invoke, model, BALANCE)
        assert is_in.wait(10)
        aggregator.reply = "done"
        as_user("bob", ChatMoA.invoke, model, BALANCE)
        released.set()
        alice.result(10)
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}]


async def test_the_same_words_of_many_users_at_once():
    model, aggregator = bank()

    async def ask_as(name):
        WHO.set(name)
        conversation = list(BALANCE)
        for _ in range(2):
            conversation += step(await model.ainvoke(conversation, tools=TOOLS))

    await asyncio.gather(*(ask_as(name) for name in ["alice", "bob"] * 8))
    assert sorted(map(sorted, seen_balances(aggregator))) == [["alice"]] * 16 + [["bob"]] * 16


def test_the_same_words_of_another_user_after_the_first_call_failed(ask):
    model, aggregator = bank()
    aggregator.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        as_user("alice", ask, model, BALANCE, tools=TOOLS)
    aggregator.error = None
    as_user("bob", ask, model, BALANCE, tools=TOOLS)
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}]


def test_the_same_words_of_another_user_while_the_first_is_at_a_tool_step(ask):
    """Ids such as `call_1` are no secret: many models count them."""
    model, aggregator = bank()
    aggregator.call_id = lambda: "call_1"
    alice = as_user("alice", ask, model, BALANCE, tools=TOOLS)
    bob = as_user("bob", ask, model, BALANCE, tools=TOOLS)
    as_user("bob", ask, model, [*BALANCE, *step(bare(bob))], tools=TOOLS)
    as_user("alice", ask, model, [*BALANCE, *step(alice)], tools=TOOLS)
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}, {"bob"}, {"alice"}]


@pytest.mark.parametrize("told", ["configurable", "metadata"])
def test_without_metadata_a_step_of_another_user_with_the_same_ids_is_no_continuation(ask, told):
    model, aggregator = bank()
    alice = as_user("alice", ask, model, BALANCE, {told: {"user_id": "alice"}}, tools=TOOLS)
    as_user("bob", ask, model, [*BALANCE, *step(bare(alice))], {told: {"user_id": "bob"}}, tools=TOOLS)
    as_user("alice", ask, model, [*BALANCE, *step(bare(alice))], {told: {"user_id": "alice"}}, tools=TOOLS)
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}, {"alice"}]
    assert calls_of(alice)[0]["status"] == "ok"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
def test_the_graph_by_itself_keeps_users_apart_by_their_configurable(asynchronous):
    model, aggregator = bank(fan_out="user_turn")

    def ask_graph(conversation, user):
        config = {"configurable": {"user_id": user}}
        if asynchronous:
            return asyncio.run(model.graph.ainvoke({"messages": conversation}, config))["messages"][-1]
        return model.graph.invoke({"messages": conversation}, config)["messages"][-1]

    alice = ask_graph(BALANCE, "alice")
    ask_graph(BALANCE, "bob")
    ask_graph([*BALANCE, *step(bare(alice))], "bob")
    last = ask_graph([*BALANCE, *step(bare(alice))], "alice")
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}, {"bob"}, {"alice"}]
    assert [call["reused"] for call in calls_of(last)] == [True, True]


def test_two_agents_with_the_same_words_keep_their_own_references():
    @tool
    def look_up(n: int) -> str:
        """Look it up."""
        if WHO.get() == "alice":  # bob's whole turn happens between two steps of alice's
            as_user("bob", agent.invoke, {"messages": BALANCE})
        return "found"

    aggregator = CallingChatModel(reply="done", calls=has_no_result)
    agent = create_agent(ChatMoA(proposers=advisers(), aggregator=aggregator), [look_up])
    as_user("alice", agent.invoke, {"messages": BALANCE})
    assert seen_balances(aggregator) == [{"alice"}, {"bob"}, {"bob"}, {"alice"}]


# -- An outage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"fan_out": "user_turn"}], ids=["tools", "user_turn"])
def test_after_an_outage_the_question_is_answered(ask, options):
    proposer = Recovering(failures=3)
    model = ChatMoA(proposers=[proposer], aggregator=CallingChatModel(), **options)
    tools = {} if options else {"tools": TOOLS}
    for _ in range(3):
        with pytest.raises(ProposersFailedError):
            ask(model, [HumanMessage("Q")], **tools)
    answer = ask(model, [HumanMessage("Q")], **tools)
    assert [call["status"] for call in calls_of(answer)] == ["ok"]
    assert len(proposer.seen) == 4


def test_after_three_server_errors_over_http_the_question_is_answered(ask, together):
    failing = [Reply(status=500, headers={"retry-after-ms": "1"})] * 9  # each call tries three times
    server = together(lambda body: failing.pop() if body["model"] == "lab/a" and failing else "fine")
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/c").bind_tools(TOOLS)
    for _ in range(3):
        with pytest.raises(ProposersFailedError):
            ask(model, [HumanMessage("Q")])
    assert ask(model, [HumanMessage("Q")]).text == "fine"
    assert [body["model"] for body in server.requests].count("lab/a") == 10


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
def test_with_retry_asks_the_proposers_at_every_try(asynchronous):
    proposer = Recovering(failures=3)
    model = ChatMoA(proposers=[proposer], aggregator=CallingChatModel()).bind_tools(TOOLS)
    patient = model.with_retry(
        stop_after_attempt=4, wait_exponential_jitter=False, exponential_jitter_params={"max": 0}
    )
    answer = asyncio.run(patient.ainvoke("Q")) if asynchronous else patient.invoke("Q")
    assert answer.tool_calls
    assert len(proposer.seen) == 4


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
def test_an_agent_that_is_run_again_after_an_outage_answers(asynchronous):
    @tool
    def look_up(n: int) -> str:
        """Look it up."""
        return "found"

    proposer = Recovering(failures=3)
    agent = create_agent(
        ChatMoA(proposers=[proposer], aggregator=CallingChatModel(reply="done", calls=has_no_result)), [look_up]
    )

    def run():
        given = {"messages": [HumanMessage("Q")]}
        return asyncio.run(agent.ainvoke(given)) if asynchronous else agent.invoke(given)

    for _ in range(3):
        with pytest.raises(ProposersFailedError):
            run()
    assert run()["messages"][-1].text == "done"


def test_after_a_deadline_the_proposer_is_asked_again(ask):
    released = threading.Event()
    proposer = ScriptedChatModel(waits_for=released)
    model = ChatMoA(proposers=[proposer], aggregator=CallingChatModel(), deadline=0.4)
    with pytest.raises(ProposersFailedError, match="LayerClosedError"):
        ask(model, [HumanMessage("Q")], tools=TOOLS)
    released.set()
    answer = ask(model.model_copy(update={"deadline": 20}), [HumanMessage("Q")], tools=TOOLS)
    assert [call["status"] for call in calls_of(answer)] == ["ok"]
    assert len(proposer.seen) == 2


@carried
def test_a_reference_that_is_used_again_counts_for_the_quorum(ask, carry):
    never = threading.Event()
    good = ScriptedChatModel(reply="good")
    late = ScriptedChatModel(reply="late", model_name="late", waits_for=never)
    model = ChatMoA(proposers=[good, late], aggregator=CallingChatModel(), quorum=1)
    try:
        _, second = go_on(ask, model, [HumanMessage("Q")], 2, carry, tools=TOOLS)
    finally:
        never.set()
    assert [call["status"] for call in calls_of(second)] == ["ok", "cancelled"]
    assert calls_of(second)[0]["reused"]
    assert len(good.seen) == 1


# -- Models that are built anew at every step -------------------------------------------------------------------------


@carried
def test_a_configurable_model_asks_once_per_turn(ask, carry):
    model, members, _ = council()
    model = model.configurable_fields(max_tokens=ConfigurableField(id="max_tokens"))
    go_on(ask, model, [HumanMessage("Q")], 3, carry, config={"configurable": {"max_tokens": 7}}, tools=TOOLS)
    assert asked(members) == [1, 1]


@carried
def test_a_copy_of_the_model_at_every_step_asks_once_per_turn(ask, carry):
    model, members, _ = council()

    def ask_a_copy(model, *args, **kwargs):
        return ask(model.model_copy(update={"max_tokens": 7}), *args, **kwargs)

    go_on(ask_a_copy, model, [HumanMessage("Q")], 3, carry, tools=TOOLS)
    assert asked(members) == [1, 1]


def test_a_model_of_init_chat_model_with_any_configurable_field_asks_once_per_turn(ask, together, monkeypatch):
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    register()
    call = {"id": "call_aB3dE5fG7hI9", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    server = together(lambda body: Reply(text=None, tool_calls=(call,)) if "tools" in body else "advice")
    model = init_chat_model("moa:together-moa-lite", configurable_fields="any").bind_tools(TOOLS)
    go_on(ask, model, [HumanMessage("Q")], 3, config={"configurable": {"temperature": 0.1}})
    assert sum("tools" in body for body in server.requests) == 3
    one = ChatMoA(model="together-moa-lite")
    proposers = [node for node in one.graph.get_graph().nodes if "proposer" in node]
    assert sum("tools" not in body for body in server.requests) == len(proposers)


# -- Canceled, and many at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conversation", [[HumanMessage("Q")], [HumanMessage("Q"), *foreign_step()]], ids=["first", "later"]
)
async def test_a_canceled_fan_out_is_never_kept(conversation):
    """Peer bug 16 (Hermes): the partial result of a canceled fan-out was cached and replayed."""
    released, waiting = threading.Event(), asyncio.Event()
    fast = ScriptedChatModel(reply="fast")
    slow = ScriptedChatModel(reply=lambda _: waiting.set() or "slow", waits_for=released)
    aggregator = ScriptedChatModel(reply="done")
    model = ChatMoA(proposers=[fast, slow], aggregator=aggregator)
    call = asyncio.create_task(model.ainvoke(conversation, tools=TOOLS))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert aggregator.seen == []
    released.set()
    answer = await model.ainvoke([HumanMessage("Q"), *foreign_step(), *foreign_step("call_2")], tools=TOOLS)
    assert aggregator.seen[0][-1].text.endswith("models:\n1. fast\n2. slow")
    assert len(slow.seen) == 2
    assert [call["status"] for call in calls_of(answer)] == ["ok", "ok"]


def run_turn(model, name):
    """Ask a question, and go on for two steps."""
    go_on(ChatMoA.invoke, model, [HumanMessage(name)], tools=TOOLS)


async def arun_turn(model, name):
    conversation = [HumanMessage(name)]
    for _ in range(3):
        conversation += step(await model.ainvoke(conversation, tools=TOOLS))


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_conversations_at_once_keep_their_own_references(way):
    model, members, aggregator = council()
    names = [f"Q{number}" for number in range(8)]

    async def at_once():
        await asyncio.gather(*(arun_turn(model, name) for name in names))

    if way == "threads":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: run_turn(model, name), names))
    else:
        asyncio.run(at_once())
    assert asked(members) == [8, 8]
    assert len(aggregator.seen) == 24
    for seen in aggregator.seen:
        name = seen[0].text.partition("\n")[0]
        assert seen[-1].text.endswith(f"\n1. one on {name}\n2. two on {name}")
