"""When a layer is closed, what the deadline does, and who is asked instead of a failing aggregator."""

import asyncio
import threading
from time import monotonic

import pytest

from langchain_moa import ChatMoA, Proposer, ProposersFailedError
from langchain_moa.exceptions import DeadlineError
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply


@pytest.fixture
def never():
    """An event that is set only when the test is over, so that abandoned threads end."""
    event = threading.Event()
    yield event
    event.set()


def fast(name="fast", **options):
    return ScriptedChatModel(reply=name, model_name=name, **options)


def statuses(answer, layer=0):
    return [call["status"] for call in answer.response_metadata["moa"]["layers"][layer]]


@pytest.mark.parametrize("quorum", [2, 0.5])
def test_a_layer_closes_at_its_quorum_and_keeps_the_proposers_order(ask, never, quorum):
    aggregator = ScriptedChatModel()
    model = ChatMoA(
        proposers=[fast("slow", waits_for=never), fast("b"), fast("c")], aggregator=aggregator, quorum=quorum
    )
    answer = ask(model, "Go.")
    assert aggregator.seen[0][0].text.endswith("models:\n1. b\n2. c")
    assert statuses(answer) == ["cancelled", "ok", "ok"]
    moa = answer.response_metadata["moa"]
    assert moa["layers"][0][0]["error"] == "LayerClosedError: the layer was closed before it answered"
    assert moa["degraded"] == [{"reason": "proposer_cancelled", "layer": 1, "proposer": "slow"}]


def test_a_straggler_that_answers_in_the_grace_counts(ask):
    first_is_in = threading.Event()
    first = ScriptedChatModel(reply=lambda _: (first_is_in.set(), "first")[1])
    late = fast("late", waits_for=first_is_in)
    answer = ask(ChatMoA(proposers=[late, first], aggregator=fast(), quorum=1, grace=5), "Go.")
    assert statuses(answer) == ["ok", "ok"]


def test_a_straggler_is_canceled_when_the_grace_is_over(ask, never):
    started = monotonic()
    model = ChatMoA(proposers=[fast("late", waits_for=never), fast()], aggregator=fast(), quorum=1, grace=0.05)
    assert statuses(ask(model, "Go.")) == ["cancelled", "ok"]
    assert monotonic() - started < 30


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ({"reply": " "}, "empty"),
        ({"finish_reason": "length"}, "truncated"),
        ({"error": ValueError("no")}, "failed"),
    ],
)
def test_an_empty_cut_off_or_failed_proposal_never_counts_for_the_quorum(ask, bad, status):
    """Peer bug 4 (Chimera): blank answers agreed with each other, and stopped the panel early."""
    bad_is_in = threading.Event()

    class Bad(ScriptedChatModel):
        def _answer(self, *args):
            bad_is_in.set()
            return super()._answer(*args)

    good = fast("good", waits_for=bad_is_in)
    answer = ask(ChatMoA(proposers=[Bad(**bad), good], aggregator=fast(), quorum=1), "Go.")
    assert statuses(answer) == [status, "ok"]


def test_a_layers_time_ends_with_its_share_of_the_deadline(ask, never):
    started = monotonic()
    aggregator = ScriptedChatModel()
    model = ChatMoA(proposers=[fast("late", waits_for=never), fast("b")], aggregator=aggregator, deadline=1)
    answer = ask(model, "Go.")
    assert 0.49 < monotonic() - started < 1
    assert statuses(answer) == ["cancelled", "ok"]
    assert aggregator.seen[0][0].text.endswith("models:\n1. b")


def test_a_layer_that_is_closed_without_a_reference_is_a_retryable_failure(ask, never):
    model = ChatMoA(proposers=[fast("late", waits_for=never)], aggregator=fast(), deadline=1)
    with pytest.raises(ProposersFailedError, match="late: LayerClosedError") as error:
        ask(model, "Go.")
    assert error.value.is_retryable


def test_a_call_ends_at_its_deadline(ask, never):
    class Hanging(ScriptedChatModel):
        def _stream(self, *args, **kwargs):
            never.wait(60)
            yield from super()._stream(*args, **kwargs)

        async def _astream(self, *args, **kwargs):
            await asyncio.sleep(60)
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk

    started = monotonic()
    model = ChatMoA(proposers=[fast()], aggregator=Hanging(waits_for=never), deadline=0.2)
    with pytest.raises(TimeoutError, match=r"within the deadline of 0\.2 seconds") as error:
        ask(model, "Go.")
    assert isinstance(error.value, DeadlineError)
    assert monotonic() - started < 30


def test_at_the_deadline_the_tokens_so_far_are_with_the_caller(together):
    gate = threading.Event()
    together({"lab/a": "reference", "lab/c": Reply(text="one two three", gate=gate)})
    heard = []
    with pytest.raises(DeadlineError):
        for chunk in ChatMoA(proposers=["lab/a"], aggregator="lab/c", deadline=1).stream("Go."):
            heard.append(chunk.text)
    gate.set()
    assert "".join(heard) == "one"


def test_a_canceled_stragglers_connection_is_closed(together):
    gate = threading.Event()
    server = together({"lab/slow": Reply(text="late", gate=gate), "lab/fast": "fast", "lab/c": "done"})
    model = ChatMoA(proposers=["lab/slow", "lab/fast"], aggregator="lab/c", quorum=1)
    assert asyncio.run(model.ainvoke("Go.")).text == "done"
    server.wait_for(lambda: server.closed_by_client == ["lab/slow"])
    gate.set()


def test_the_limits_hold_in_a_graph_that_runs_by_itself(never):
    graph = ChatMoA(proposers=[fast("late", waits_for=never), fast("b")], aggregator=fast(), quorum=1).graph
    assert statuses(graph.invoke({"messages": "Go."})["messages"][-1]) == ["cancelled", "ok"]
    assert statuses(asyncio.run(graph.ainvoke({"messages": "Go."}))["messages"][-1]) == ["cancelled", "ok"]


def test_progress_names_the_stragglers(never):
    graph = ChatMoA(proposers=[fast("late", waits_for=never), fast("b")], aggregator=fast(), quorum=1).graph
    events = graph.stream({"messages": "Go."}, stream_mode="custom")
    ends = [event for event in events if event["event"] == "moa_proposer_end"]
    assert [(event["proposer"], event["status"], event["done"]) for event in ends] == [
        ("b", "ok", 1),
        ("late", "cancelled", 2),
    ]


def test_each_layer_has_a_clock_of_its_own(ask, never):
    first = [fast("a"), fast("late", waits_for=never)]
    second = [fast("late", waits_for=never), fast("d")]
    answer = ask(ChatMoA(layers=[first, second], aggregator=fast(), quorum=1), "Go.")
    assert [statuses(answer, layer) for layer in (0, 1)] == [["ok", "cancelled"], ["cancelled", "ok"]]


def test_a_failing_aggregator_is_replaced_before_its_first_token(ask, caplog):
    bad = ScriptedChatModel(error=RuntimeError("down"), model_name="bad")
    good = fast("good")
    answer = ask(ChatMoA(proposers=[fast()], aggregator=bad, fallback_aggregators=[bad, good]), "Go.")
    assert answer.text == "good"
    moa = answer.response_metadata["moa"]
    assert moa["aggregator"]["model"] == "good"
    assert moa["degraded"] == [{"reason": "aggregator_failed", "model": "bad", "error": "RuntimeError: down"}] * 2
    assert good.seen[0][0].text.endswith("models:\n1. fast")
    assert "The aggregator 'bad' failed: RuntimeError: down" in caplog.text


def test_an_aggregator_may_stand_among_its_own_fallbacks(ask):
    tries = iter([RuntimeError("busy"), RuntimeError("still busy"), None])

    class Busy(ScriptedChatModel):
        def _answer(self, *args):
            if error := next(tries):
                raise error
            return super()._answer(*args)

    busy, bad = Busy(reply="at last"), ScriptedChatModel(error=RuntimeError("down"))
    model = ChatMoA(proposers=[fast()], aggregator=busy, fallback_aggregators=[bad, busy, busy])
    assert ask(model, "Go.").text == "at last"


def test_a_call_that_is_left_behind_sends_no_further_request(together):
    server = together({"lab/slow": Reply(fault="hang"), "lab/b": "b", "lab/c": "done"})
    model = ChatMoA(proposers=["lab/slow", "lab/b"], aggregator="lab/c", timeout=0.2)
    assert model.invoke("Go.").text == "done"
    for thread in threading.enumerate():
        if thread.name == "moa":
            thread.join(30)
    assert [body["model"] for body in server.requests].count("lab/slow") == 1


def test_when_all_aggregators_fail_the_last_error_is_the_callers(ask):
    bad = ScriptedChatModel(error=RuntimeError("down"))
    worse = ScriptedChatModel(error=ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        ask(ChatMoA(proposers=[fast()], aggregator=bad, fallback_aggregators=[worse]), "Go.")


def test_after_the_first_token_nobody_else_is_asked():
    broken = ScriptedChatModel(reply="one two three", error=RuntimeError("cut"), error_after=2)
    good = fast("good")
    heard = []
    with pytest.raises(RuntimeError, match="cut"):
        for chunk in ChatMoA(proposers=[fast()], aggregator=broken, fallback_aggregators=[good]).stream("Go."):
            heard.append(chunk.text)
    assert heard == ["one", " two"]
    assert good.seen == []


def test_a_sync_stream_that_is_left_ends_the_aggregators_at_its_next_token(together):
    gate = threading.Event()
    server = together({"lab/a": "reference", "lab/c": Reply(text="word " * 20_000, gate=gate)})
    for chunk in ChatMoA(proposers=["lab/a"], aggregator="lab/c").stream("Go."):
        if chunk.text:
            break
    gate.set()
    server.wait_for(lambda: server.closed_by_client == ["lab/c"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quorum": 3}, "quorum is 3; layer 1 has 2 proposers: give a count of 1 to 2, or a fraction"),
        ({"quorum": 1.5}, "quorum is 1.5"),
        ({"quorum": 0}, "quorum"),
        ({"quorum": 1, "min_references": 2}, "min_references is 2, more than the quorum of 1 of layer 1"),
        ({"grace": -1}, "grace"),
        ({"deadline": 0}, "deadline"),
    ],
)
def test_limits_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ChatMoA(proposers=[fast(), fast()], aggregator=fast(), **options)


def test_mixtures_nest_to_a_depth_and_no_further():
    model = ChatMoA(proposers=[fast()], aggregator=fast())
    for _ in range(3):
        model = ChatMoA(proposers=[fast(), Proposer(model=model)], aggregator=fast())
    assert model.invoke("Go.").text == "fast"
    with pytest.raises(ValueError, match="nests 5 mixtures; at most 4"):
        ChatMoA(proposers=[fast()], aggregator=model)


def test_threads_of_many_sync_calls_are_gone_when_they_are_done():
    model = ChatMoA(proposers=[fast() for _ in range(6)], aggregator=fast())
    model.invoke("Go.")
    before = threading.active_count()
    callers = [threading.Thread(target=model.invoke, args=["Go."]) for _ in range(50)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for thread in threading.enumerate():
        if thread.name == "moa":
            thread.join(30)
    assert threading.active_count() <= before
