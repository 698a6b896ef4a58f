"""Votes that stop: proposers who are asked a few at a time, and a lead that is probable enough."""

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from math import ceil

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import ChatMoA, Proposer, ProposersFailedError, create_moa_graph
from langchain_moa.exceptions import DeadlineError
from langchain_moa.gates import unless_small_talk
from tests.benchmarks import early_vote
from tests.fakes import CallingChatModel, ScriptedChatModel
from tests.openai_server import Reply
from tests.traces import TreeTracer

THREAD = {"configurable": {"thread_id": "1"}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Look it up."}}]


def council(together, votes, **options):
    """Start a server of proposers p1, p2, ... who vote, or reply as told; return it and their mixture's options."""
    names = [f"lab/p{number}" for number in range(1, len(votes) + 1)]
    replies = [f"It is {vote}." if isinstance(vote, int) else vote for vote in votes]
    server = together({**dict(zip(names, replies, strict=True)), "lab/writer": "written"})
    return server, {"proposers": names, "aggregator": "lab/writer", "aggregation": "vote", "max_retries": 0, **options}


def asked(server):
    """Return who was asked, and how often, in the order of the names."""
    return sorted(body["model"].removeprefix("lab/") for body in server.requests)


def moa(answer):
    return answer.response_metadata["moa"]


def statuses(answer, layer=-1):
    return [call["status"] for call in moa(answer)["layers"][layer]]


def first(number):
    return [f"p{place}" for place in range(1, number + 1)]


# -- Waves ------------------------------------------------------------------------------------------------------------


def test_proposers_are_asked_a_few_at_a_time_until_the_leader_cannot_be_overtaken(together, ask):
    server, options = council(together, [42] * 7)
    answer = ask(ChatMoA(**options, wave=2), "Q")
    assert answer.text == "It is 42."
    assert asked(server) == first(4)
    assert server.peak <= 2
    assert statuses(answer) == ["ok"] * 4 + ["skipped"] * 3
    assert moa(answer)["vote"] == {"votes": {"42": 4}, "answer": "42", "proposer": "p1"}
    assert moa(answer)["degraded"] == []
    assert moa(answer)["aggregator"] is None
    assert answer.usage_metadata["total_tokens"] == 4 * 18


def test_while_the_vote_is_open_the_next_ones_are_asked(together, ask):
    server, options = council(together, [1, 2, 2, 1, 2, 1, 2, 2])
    answer = ask(ChatMoA(**options, wave=3), "Q")
    assert answer.text == "It is 2."
    assert asked(server) == first(8)
    assert moa(answer)["vote"]["votes"] == {"2": 5, "1": 3}


def test_after_all_waves_a_tie_is_synthesized_from_all_references(together, ask):
    server, options = council(together, [1, 2, 2, 1])
    answer = ask(ChatMoA(**options, wave=1), "Q")
    assert answer.text == "written"
    assert asked(server) == [*first(4), "writer"]
    (request,) = [body for body in server.requests if body["model"] == "lab/writer"]
    shown = request["messages"][0]["content"].partition("models:\n")[2]
    assert shown == "1. It is 1.\n2. It is 2.\n3. It is 2.\n4. It is 1."
    assert [each["reason"] for each in moa(answer)["degraded"]] == ["vote_tied"]


FAILING = {
    "failed": Reply(status=500),
    "empty": Reply(text=""),
    "truncated": Reply(text="It is 42", finish_reason="length"),
    "ok": "no number",
}


@pytest.mark.parametrize("status", FAILING)
def test_a_proposer_without_a_vote_leaves_the_vote_open(together, ask, status):
    server, options = council(together, [FAILING[status], 42, 41, 42, 42])
    answer = ask(ChatMoA(**options, wave=3), "Q")
    assert answer.text == "It is 42."
    assert asked(server) == first(5)
    assert statuses(answer)[0] == status


def test_a_wave_that_fails_altogether_is_followed_by_the_next(together, ask):
    server, options = council(together, [Reply(status=500), Reply(status=401), 42, 42])
    answer = ask(ChatMoA(**options, wave=2), "Q")
    assert answer.text == "It is 42."
    assert asked(server) == first(4)
    assert [(each["reason"], each["proposer"]) for each in moa(answer)["degraded"]] == [
        ("proposer_failed", "p1"),
        ("proposer_failed", "p2"),
    ]


def test_when_all_waves_have_failed_every_cause_is_named(together, ask):
    server, options = council(together, [Reply(status=500), Reply(status=401), Reply(text="")])
    with pytest.raises(ProposersFailedError) as error:
        ask(ChatMoA(**options, wave=1), "Q")
    assert list(error.value.errors) == ["p1", "p2", "p3"]
    assert asked(server) == first(3)


def test_the_samples_of_a_proposer_are_one_wave(together, ask):
    """ModelSwitch (arXiv:2504.00762): the next model is asked when the one before does not agree with itself."""
    unsure = iter([1, 2, 1, 2, 1] * 4)
    server = together(lambda body: f"It is {next(unsure) if body['model'] == 'lab/unsure' else 1}.")
    options = {"aggregator": "lab/writer", "aggregation": "vote", "wave": 5, "confidence": 0.95}
    sure, unsure_too, spare = (Proposer(model=f"lab/{name}", samples=5) for name in ("sure", "unsure", "spare"))
    assert ask(ChatMoA(proposers=[sure, unsure_too, spare], **options), "Q").text == "It is 1."
    assert set(asked(server)) == {"sure"}  # at 4 to 0 the fifth may not have been sent yet
    server.reset()
    answer = ask(ChatMoA(proposers=[unsure_too, sure, spare], **options), "Q")
    assert answer.text == "It is 1."
    assert asked(server) == ["sure"] * 5 + ["unsure"] * 5
    assert statuses(answer) == ["ok"] * 10 + ["skipped"] * 5


def test_a_quorum_ends_the_vote_and_so_the_waves(together, ask):
    server, options = council(together, [1, Reply(status=500), 2, 2, 2, 2])
    answer = ask(ChatMoA(**options, wave=2, quorum=3, grace=60), "Q")
    assert answer.text == "It is 2."
    assert asked(server) == first(4)
    assert statuses(answer) == ["ok", "failed", "ok", "ok", "skipped", "skipped"]


def test_no_vote_is_closed_with_fewer_references_than_are_wanted(together, ask):
    server, options = council(together, [1] * 7)
    ask(ChatMoA(**options, wave=1, confidence=0.7, min_references=5), "Q")
    assert asked(server) == first(5)


def test_a_wave_has_its_share_of_a_deadline(together, ask):
    server, options = council(together, [Reply(fault="hang"), 42, Reply(fault="hang"), 42])
    answer = ask(ChatMoA(**options, wave=2, deadline=3, confidence=0.9), "Q")
    assert answer.text == "It is 42."
    assert statuses(answer) == ["cancelled", "ok", "cancelled", "ok"]
    server.wait_for(lambda: sorted(server.closed_by_client) == ["lab/p1", "lab/p3"])
    assert server.in_flight == 0


def test_a_straggler_is_canceled_when_the_vote_is_decided(together, ask):
    server, options = council(together, [42, 42, Reply(fault="hang"), 42, 42])
    answer = ask(ChatMoA(**options, wave=4), "Q")
    assert answer.text == "It is 42."
    assert statuses(answer) == ["ok", "ok", "cancelled", "ok", "skipped"]
    server.wait_for(lambda: server.closed_by_client == ["lab/p3"])


def test_only_the_last_layer_comes_in_waves_and_each_wave_sees_the_layer_before(together, ask):
    server, options = council(together, [1, 2, 1, 2, 2])
    answer = ask(ChatMoA(**options, wave=2, rounds=2), "Q")
    assert answer.text == "It is 2."
    assert asked(server) == sorted([*first(5), *first(5)])
    assert [statuses(answer, 0), statuses(answer, 1)] == [["ok"] * 5] * 2
    later = [body["messages"][0]["content"] for body in server.requests if len(body["messages"]) == 2]
    assert len(later) == 5
    assert {text.partition("models:\n")[2] for text in later} == {
        "1. It is 1.\n2. It is 2.\n3. It is 1.\n4. It is 2.\n5. It is 2."
    }


def test_with_tools_nobody_votes_and_all_are_asked_at_once(ask):
    last_is_in = threading.Event()
    first, second = (ScriptedChatModel(reply="It is 1.", waits_for=last_is_in) for _ in range(2))
    last = ScriptedChatModel(reply=lambda _: (last_is_in.set(), "It is 1.")[1])
    writer = CallingChatModel()
    model = ChatMoA(proposers=[first, second, last], aggregator=writer, aggregation="vote", wave=1, timeout=30)
    answer = ask(model.bind_tools(TOOLS), "Q")
    assert answer.tool_calls
    assert statuses(answer) == ["ok"] * 3
    assert [len(each.seen) for each in (first, second, last, writer)] == [1, 1, 1, 1]


def test_a_gate_may_come_before_the_waves(together, ask):
    server, options = council(together, [1, 1, 1])
    model = ChatMoA(**options, wave=2, fan_out=unless_small_talk)
    assert statuses(ask(model, "Hi!")) == ["skipped"] * 3
    assert asked(server) == ["writer"]
    server.reset()
    assert statuses(ask(model, "6 x 7?")) == ["ok", "ok", "skipped"]
    assert asked(server) == first(2)


def test_in_a_users_turn_the_votes_are_used_again(together, ask):
    server, options = council(together, [1, 1, 1])
    model = ChatMoA(**options, wave=1, fan_out="user_turn")
    answer = ask(model, [HumanMessage("Q")])
    again = ask(model, [HumanMessage("Q"), answer])
    assert again.text == "It is 1."
    assert asked(server) == first(2)
    assert statuses(again) == ["ok", "ok", "skipped"]


def test_progress_counts_over_the_waves(together):
    _, options = council(together, [1, Reply(status=500), 2, 1, 1])
    model = ChatMoA(**options, wave=2)

    async def events():
        heard = [event async for event in model.astream_events("Q") if event["event"] == "on_custom_event"]
        return [(event["name"], event["data"].get("done"), event["data"].get("total")) for event in heard]

    ends = [(done, total) for name, done, total in asyncio.run(events()) if name == "moa_proposer_end"]
    assert ends == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_the_votes_of_all_ways_are_one_trace(together, ask):
    _, options = council(together, [1, 2, 1, 2])
    tracer = TreeTracer()
    ask(ChatMoA(**options, wave=2), "Q", {"callbacks": [tracer]})
    assert len(tracer.roots) == 1
    assert sum(run.run_type == "llm" and "moa:proposer" in run.tags for run in tracer.runs()) == 4


def test_waves_as_large_as_the_layer_are_none(together, ask):
    server, options = council(together, [1, 2, 3])
    model = ChatMoA(**options, wave=3)
    assert "first_wave" not in model.graph.get_graph().nodes
    ask(model, "Q")
    assert set(first(3)) <= set(asked(server))


def test_with_max_concurrency_no_wave_waits_for_another(together):
    server, options = council(together, [1, 2, 1, 2, 1])
    graph = create_moa_graph(**options, wave=2).compile()
    assert graph.invoke({"messages": "Q"}, {"max_concurrency": 1})["messages"][-1].text == "It is 1."
    assert asked(server) == first(5)
    assert server.peak == 1


def test_a_caller_who_leaves_in_the_second_wave_leaves_nothing_behind(together):
    server, options = council(together, [1, 2, Reply(fault="hang"), Reply(fault="hang"), 1])

    async def leave():
        task = asyncio.create_task(ChatMoA(**options, wave=2).ainvoke("Q"))
        await asyncio.to_thread(server.wait_for, lambda: len(server.requests) == 4)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not asyncio.run(leave())
    server.wait_for(lambda: sorted(server.closed_by_client) == ["lab/p3", "lab/p4"])
    assert asked(server) == first(4)


def test_a_deadline_ends_a_call_between_its_waves(together, ask):
    _, options = council(together, [Reply(fault="hang")] * 4)
    with pytest.raises((DeadlineError, ProposersFailedError)):
        ask(ChatMoA(**options, wave=1, deadline=0.5), "Q")


# -- From a checkpoint ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("votes", [[1, 1, 2, 1, 1, 1, 1], [1, 2, 2, 2, 2, 1, 2]], ids=["1", "2"])
@pytest.mark.parametrize("killed", [1, 2, 3, 4])
def test_a_resumed_vote_asks_whom_it_would_have_asked_and_nobody_twice(votes, killed):
    """A run ends while it waits for its n-th proposer, and goes on from its checkpoint."""
    comes_back = threading.Event()
    members = [ScriptedChatModel(reply=f"It is {vote}.") for vote in votes]
    members[killed - 1].waits_for = comes_back
    graph = create_moa_graph(
        layers=[[ScriptedChatModel(reply="before")], members],
        aggregator=ScriptedChatModel(),
        aggregation="vote",
        wave=2,
    ).compile(checkpointer=InMemorySaver())

    async def run():
        task = asyncio.create_task(graph.ainvoke({"messages": "Q"}, THREAD))
        while not members[killed - 1].seen or len(await unfinished(graph)) > 1:
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        comes_back.set()
        return await graph.ainvoke(None, THREAD)

    answer = asyncio.run(run())["messages"][-1]
    needed = min(2 * ceil(votes_needed(votes) / 2), 7)
    counted = Counter(str(vote) for vote in votes[:needed])
    assert moa(answer)["vote"]["votes"] == counted
    assert [len(member.seen) for member in members] == [
        (1 + (number == killed)) * (number <= needed) for number in range(1, 8)
    ]
    assert all("1. before" in seen[0].text for member in members for seen in member.seen)


async def unfinished(graph):
    """Return the nodes that the run waits for."""
    return [task.name for task in (await graph.aget_state(THREAD)).tasks if task.result is None]


def votes_needed(votes):
    """Return after how many votes the leader is ahead of the second by more than there are votes to come."""
    for count in range(1, len(votes)):
        leading, second, *_ = [*sorted((votes[:count].count(vote) for vote in set(votes[:count])), reverse=True), 0]
        if leading - second > len(votes) - count:
            return count
    return len(votes)


def test_a_vote_that_is_interrupted_after_each_wave_is_closed_by_all_of_its_votes():
    members = [ScriptedChatModel(reply="It is 1.") for _ in range(9)]
    graph = create_moa_graph(
        proposers=members, aggregator=ScriptedChatModel(), aggregation="vote", wave=1, confidence=0.95
    ).compile(checkpointer=InMemorySaver(), interrupt_before=["next_wave"])
    state = graph.invoke({"messages": "Q"}, THREAD)
    waves = 1
    while graph.get_state(THREAD).next:
        state = graph.invoke(None, THREAD)
        waves += 1
    assert state["messages"][-1].text == "It is 1."
    assert waves == 5  # four of a proposer each, and the answer
    assert [len(member.seen) for member in members] == [1] * 4 + [0] * 5


def test_a_new_question_after_an_abandoned_vote_counts_none_of_its_votes():
    never = threading.Event()
    slow = ScriptedChatModel(reply="It is 1.", waits_for=never)
    members = [ScriptedChatModel(reply=lambda messages: messages[-1].text) for _ in range(4)]
    graph = create_moa_graph(
        proposers=[*members, slow], aggregator=ScriptedChatModel(), aggregation="vote", wave=2
    ).compile(checkpointer=InMemorySaver())

    async def run():
        task = asyncio.create_task(graph.ainvoke({"messages": "Is it 1 or 2? 1"}, THREAD))
        while not members[1].seen:
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await graph.ainvoke({"messages": "It is 5"}, THREAD)

    answer = asyncio.run(run())["messages"][-1]
    assert moa(answer)["vote"]["votes"] == {"5": 4}
    state = graph.get_state(THREAD).values
    assert state["wave"] == {"before": [], "references": [], "failures": []}


# -- Confidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidence", "votes", "calls"),
    [
        (0.95, [1] * 9, 4),  # 4 to 0: 31/32
        (0.96875, [1] * 9, 4),
        (0.9688, [1] * 9, 5),
        (0.9375, [1] * 9, 3),  # 3 to 0: 15/16
        (0.95, [1, 2, 1, 1, 1, 1, 1, *[2] * 8], 7),  # 5 to 1: 1 - 8/128; 6 to 1: 1 - 9/256
        (0.95, [1, 2, 3, 1, 1, 1, 1, 1, *[2] * 8], 8),  # the third counts for nothing
        (None, [1] * 9, 5),
    ],
)
def test_a_vote_is_closed_by_the_probability_of_its_lead(together, ask, confidence, votes, calls):
    server, options = council(together, votes)
    answer = ask(ChatMoA(**options, wave=1, confidence=confidence), "Q")
    assert answer.text == "It is 1."
    assert asked(server) == first(calls)


def test_confidence_without_waves_cancels_the_rest(together, ask):
    hanging = Reply(fault="hang")
    _, options = council(together, [1, 1, hanging, 1, hanging, 1, hanging, hanging, hanging])
    answer = ask(ChatMoA(**options, confidence=0.95), "Q")
    assert answer.text == "It is 1."
    assert statuses(answer).count("ok") == 4
    assert statuses(answer).count("cancelled") == 5
    assert moa(answer)["degraded"] == []


QUESTIONS = 200


@pytest.mark.parametrize(
    "setting",
    [
        early_vote.Setting(line="full", voters=5),
        early_vote.Setting(line="one by one", options={"wave": 1, "confidence": 0.95}),
        early_vote.Setting(line="model by model", options={"wave": 5, "confidence": 0.95}),
    ],
    ids=str,
)
def test_on_voters_of_known_accuracy_calls_and_accuracy_are_the_computed_ones(setting):
    """The exact figures are a sum over all votes; four standard errors are missed once in 16,000 times."""
    exact = early_vote.computed(setting)
    accuracy, calls = asyncio.run(early_vote.measured(setting, questions=QUESTIONS))
    of_accuracy, of_calls = exact.errors(QUESTIONS)
    assert abs(accuracy - exact.accuracy) < 4 * of_accuracy
    assert abs(calls - exact.calls) < 4 * of_calls


@pytest.mark.parametrize("option", [{"wave": 2}, {"confidence": 0.9}], ids=["wave", "confidence"])
@pytest.mark.parametrize("build", [ChatMoA, create_moa_graph])
def test_both_options_need_a_vote(build, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} is for aggregation='vote', not 'synthesize'"):
        build(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(), **option)


@pytest.mark.parametrize("option", [{"wave": 0}, {"confidence": 0.5}, {"confidence": 1}, {"confidence": 95}])
def test_what_no_vote_could_mean_is_refused(option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(), aggregation="vote", **option)


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"wave": 2}, "4 to 8"),
        ({"wave": 7}, "7 to 8"),
        ({"wave": 1, "confidence": 0.9}, "3 to 8"),
        ({"wave": 1, "quorum": 2}, "2 to 8"),
        ({"confidence": 0.9}, "7 to 8"),
    ],
)
def test_the_description_tells_the_least_and_the_most_calls(options, calls):
    proposers = [Proposer(model=ScriptedChatModel(), samples=7)]
    model = ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(), aggregation="vote", **options)
    assert model.describe().endswith(f"Calls per answer: {calls}")


def test_the_answer_tells_who_was_not_asked(together, ask):
    _, options = council(together, [1, 1, 1])
    answer: AIMessage = ask(ChatMoA(**options, wave=2), "Q")
    *_, last = moa(answer)["layers"][0]
    assert last == {
        "proposer": "p3",
        "model": "lab/p3",
        "status": "skipped",
        "finish_reason": None,
        "seconds": 0.0,
        "usage": None,
        "error": None,
    }
