"""What a caller of `ChatMoA` sees, whichever way it asks."""

import asyncio
import logging
import threading

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA, Proposer, ProposersFailedError
from langchain_moa._messages.prompts import AGGREGATE_AND_SYNTHESIZE
from tests.fakes import ScriptedChatModel

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def trio(**options):
    """Two proposers and an aggregator, with what they saw."""
    one = ScriptedChatModel(reply="one", model_name="one", usage=USAGE)
    two = ScriptedChatModel(reply=" two\n", model_name="two", usage=USAGE)
    aggregator = ScriptedChatModel(reply="one and two", model_name="writer", usage=USAGE)
    return ChatMoA(proposers=[one, two], aggregator=aggregator, **options), one, two, aggregator


def test_the_aggregator_sees_every_reference_stripped_and_numbered(ask):
    model, one, two, aggregator = trio()
    answer = ask(model, "Count to two.")
    assert answer.text == "one and two"
    assert [message.text for message in aggregator.seen[0]] == [
        AGGREGATE_AND_SYNTHESIZE + "\n1. one\n2. two",
        "Count to two.",
    ]
    assert [m.text for m in one.seen[0]] == [m.text for m in two.seen[0]] == ["Count to two."]


def test_each_round_sees_the_references_of_the_round_before(ask):
    replies = iter(["first", "second", "third"])
    proposer = ScriptedChatModel(reply=lambda _: next(replies))
    aggregator = ScriptedChatModel()
    ask(ChatMoA(proposers=[proposer], rounds=3, aggregator=aggregator), "Go.")
    assert [seen[0].text for seen in proposer.seen] == [
        "Go.",
        AGGREGATE_AND_SYNTHESIZE + "\n1. first",
        AGGREGATE_AND_SYNTHESIZE + "\n1. second",
    ]
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. third"


def test_references_are_whole_texts_in_every_layer(ask):
    """Peer bug 1 (togethercomputer/MoA bot.py): from round 2 on, a reference was listed character by character."""
    model, one, *_ = trio(rounds=2)
    ask(model, "Go.")
    assert one.seen[1][0].text.endswith("Responses from models:\n1. one\n2. two")


def test_more_than_nine_proposers_keep_their_order(ask):
    proposers = [ScriptedChatModel(reply=f"reply {number}") for number in range(1, 13)]
    aggregator = ScriptedChatModel()
    ask(ChatMoA(proposers=proposers, aggregator=aggregator), "Go.")
    expected = "".join(f"\n{number}. reply {number}" for number in range(1, 13))
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + expected


def test_layers_may_differ(ask):
    a, b, c = (ScriptedChatModel(reply=name, model_name=name) for name in "abc")
    aggregator = ScriptedChatModel(reply="end")
    answer = ask(ChatMoA(layers=[[a, b], [c]], aggregator=aggregator), "Go.")
    assert c.seen[0][0].text.endswith("\n1. a\n2. b")
    assert aggregator.seen[0][0].text.endswith("models:\n1. c")
    assert [[call["model"] for call in layer] for layer in answer.response_metadata["moa"]["layers"]] == [
        ["a", "b"],
        ["c"],
    ]


def test_the_callers_messages_are_not_changed(ask):
    """Peer bug 2 (distilabel): the prompt was added to the caller's messages, and piled up over the rounds."""
    model, *_ = trio(rounds=2)
    conversation = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Bye")]
    before = [message.model_dump() for message in conversation]
    ask(model, conversation)
    assert [message.model_dump() for message in conversation] == before


def test_a_failed_proposer_is_left_out_the_numbers_close_up_and_it_is_named(ask, caplog):
    good = ScriptedChatModel(reply="42", model_name="good")
    bad = ScriptedChatModel(error=RuntimeError("boom"), model_name="bad")
    last = ScriptedChatModel(reply="forty-two", model_name="last")
    aggregator = ScriptedChatModel(reply="It is 42.")
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        answer = ask(ChatMoA(proposers=[good, bad, last], aggregator=aggregator), "6 x 7?")
    assert answer.text == "It is 42."
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. 42\n2. forty-two"
    moa = answer.response_metadata["moa"]
    assert [call["status"] for call in moa["layers"][0]] == ["ok", "failed", "ok"]
    assert moa["layers"][0][1]["error"] == "RuntimeError: boom"
    assert moa["degraded"] == [{"reason": "proposer_failed", "layer": 1, "proposer": "bad"}]
    assert "'bad'" in caplog.text and "boom" in caplog.text


def test_an_empty_proposal_is_no_reference_and_a_cut_off_one_is_marked(ask):
    empty = ScriptedChatModel(reply=" \n ", model_name="empty")
    cut = ScriptedChatModel(reply="The answer is", finish_reason="length", model_name="cut")
    aggregator = ScriptedChatModel()
    moa = ask(ChatMoA(proposers=[empty, cut], aggregator=aggregator), "Go.").response_metadata["moa"]
    assert aggregator.seen[0][0].text == AGGREGATE_AND_SYNTHESIZE + "\n1. The answer is"
    assert [call["status"] for call in moa["layers"][0]] == ["empty", "truncated"]
    assert [step["reason"] for step in moa["degraded"]] == ["proposer_empty", "proposer_truncated"]


def test_when_all_proposers_fail_the_error_has_every_cause_by_name(ask):
    causes = ValueError("no"), TimeoutError("slow")
    proposers = [ScriptedChatModel(error=cause, model_name=f"p{i}") for i, cause in enumerate(causes)]
    with pytest.raises(ProposersFailedError, match=r"Layer 1 gave 0 .* p0: ValueError: no; p1: TimeoutError") as error:
        ask(ChatMoA(proposers=proposers, aggregator=ScriptedChatModel()), "Go.")
    assert error.value.errors == dict(zip(["p0", "p1"], causes, strict=True))
    assert error.value.layer == 1
    assert error.value.is_retryable
    assert error.value.__cause__ is causes[0]


def test_an_error_that_would_come_again_is_not_retryable(ask):
    model = ChatMoA(proposers=[ScriptedChatModel(error=ValueError("no"))], aggregator=ScriptedChatModel())
    with pytest.raises(ProposersFailedError) as error:
        ask(model, "Go.")
    assert not error.value.is_retryable


def test_a_later_layer_that_fails_is_the_one_that_is_named(ask):
    bad = ScriptedChatModel(error=ValueError("no"), model_name="bad")
    model = ChatMoA(layers=[[ScriptedChatModel()], [bad]], aggregator=ScriptedChatModel())
    with pytest.raises(ProposersFailedError, match="Layer 2") as error:
        ask(model, "Go.")
    assert error.value.layer == 2


def test_the_aggregator_may_answer_alone(ask):
    bad = ScriptedChatModel(error=ValueError("no"), model_name="bad")
    aggregator = ScriptedChatModel(reply="alone")
    answer = ask(ChatMoA(proposers=[bad], aggregator=aggregator, on_failure="aggregate_alone"), "Go.")
    assert answer.text == "alone"
    assert [message.text for message in aggregator.seen[0]] == ["Go."]
    assert [step["reason"] for step in answer.response_metadata["moa"]["degraded"]] == [
        "proposer_failed",
        "aggregated_alone",
    ]


def test_fewer_than_min_references_are_a_failure(ask):
    proposers = [ScriptedChatModel(), ScriptedChatModel(error=ValueError("no"))]
    with pytest.raises(ProposersFailedError, match="gave 1 references, and needs 2"):
        ask(ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(), min_references=2), "Go.")


def test_the_aggregators_error_passes_through(ask):
    class ProviderError(Exception):
        pass

    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=ScriptedChatModel(error=ProviderError("down")))
    with pytest.raises(ProviderError, match="down"):
        ask(model, "Go.")


def test_the_metadata_says_who_did_what_and_usage_is_the_sum(ask):
    model, *_ = trio()
    answer = ask(model, "Go.")
    moa = answer.response_metadata["moa"]
    assert answer.response_metadata["model_name"] == "moa"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert [(call["proposer"], call["model"], call["status"]) for call in moa["layers"][0]] == [
        ("one", "one", "ok"),
        ("two", "two", "ok"),
    ]
    assert moa["layers"][0][0]["usage"] == moa["aggregator"]["usage"] == USAGE
    assert moa["aggregator"]["model"] == "writer"
    assert moa["aggregation"] == "synthesize"
    assert moa["degraded"] == []
    assert all(call["seconds"] >= 0 for call in moa["layers"][0])
    assert "text" not in moa["layers"][0][0]
    assert answer.usage_metadata == {"input_tokens": 30, "output_tokens": 15, "total_tokens": 45}


def test_providers_that_report_no_usage_are_no_error(ask):
    silent = ScriptedChatModel()
    answer = ask(ChatMoA(proposers=[silent], aggregator=silent), "Go.")
    assert answer.usage_metadata is None


def test_references_are_in_the_metadata_when_asked_for(ask):
    model, *_ = trio(include_references=True)
    calls = ask(model, "Go.").response_metadata["moa"]["layers"][0]
    assert [call["text"] for call in calls] == ["one", "two"]


def test_the_answer_streams_token_by_token():
    model, *_ = trio()
    assert [chunk.text for chunk in model.stream("Go.") if chunk.text] == ["one", " and", " two"]


async def test_the_answer_streams_token_by_token_async():
    model, *_ = trio()
    assert [chunk.text async for chunk in model.astream("Go.") if chunk.text] == ["one", " and", " two"]


def test_an_error_in_the_middle_of_the_answer_is_raised_after_its_tokens():
    aggregator = ScriptedChatModel(reply="one two three", error=RuntimeError("cut"), error_after=2)
    model = ChatMoA(proposers=[ScriptedChatModel()], aggregator=aggregator)
    heard = []
    with pytest.raises(RuntimeError, match="cut"):
        for chunk in model.stream("Go."):
            heard.append(chunk.text)
    assert heard == ["one", " two"]


def test_proposers_of_one_layer_are_asked_side_by_side():
    together = threading.Barrier(8, timeout=10)
    proposers = [ScriptedChatModel(reply=lambda _: str(together.wait())) for _ in range(8)]
    ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(reply="done")).invoke("Go.")
    assert not together.broken


def test_batches_answer_in_order():
    echo = ScriptedChatModel(reply=lambda messages: messages[-1].text)
    model = ChatMoA(proposers=[echo], aggregator=echo)
    questions = [f"question {number}" for number in range(5)]
    assert [answer.text for answer in model.batch(questions)] == questions
    assert [answer.text for answer in asyncio.run(model.abatch(questions))] == questions


async def test_the_sync_methods_work_inside_a_running_event_loop():
    model, *_ = trio()
    assert model.invoke("Go.").text == "one and two"
    assert "".join(chunk.text for chunk in model.stream("Go.")) == "one and two"


def test_a_model_is_used_by_many_threads_at_once():
    echo = ScriptedChatModel(reply=lambda messages: messages[-1].text)
    model = ChatMoA(proposers=[echo, echo], aggregator=echo)
    answers = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: model.invoke(f"question {n}").text})) for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"question {n}" for n in range(10)}


def test_it_stands_in_a_chain(ask):
    model, *_ = trio()
    chain = ChatPromptTemplate.from_messages([("system", "Be {mood}."), ("human", "{question}")]) | model
    assert ask(chain, {"mood": "brief", "question": "Count."}).text == "one and two"
    assert ask(chain | StrOutputParser(), {"mood": "brief", "question": "Count."}) == "one and two"


def test_call_time_arguments_reach_the_aggregator_only(ask):
    model, one, two, aggregator = trio()
    ask(model, "Go.", stop=["END"], seed=7)
    assert aggregator.kwargs == [{"stop": ["END"], "seed": 7}]
    assert one.kwargs == two.kwargs == [{}]


def test_a_persona_is_added_to_what_its_proposer_sees(ask):
    pirate, aggregator = ScriptedChatModel(reply="Arr"), ScriptedChatModel()
    model = ChatMoA(
        proposers=[Proposer(model=pirate, instructions="Talk like a pirate.")], rounds=2, aggregator=aggregator
    )
    ask(model, [SystemMessage("Be brief."), HumanMessage("Hi")])
    assert [seen[0].text for seen in pirate.seen] == [
        "Be brief.\n\nTalk like a pirate.",
        "Be brief.\n\nTalk like a pirate.\n\n" + AGGREGATE_AND_SYNTHESIZE + "\n1. Arr",
    ]
    assert aggregator.seen[0][0].text == "Be brief.\n\n" + AGGREGATE_AND_SYNTHESIZE + "\n1. Arr"


def test_samples_are_references_of_their_own_with_names_of_their_own(ask):
    numbers = iter("1234")
    proposer = ScriptedChatModel(reply=lambda _: f"sample {next(numbers)}", model_name="lab/Big-Model")
    aggregator = ScriptedChatModel()
    moa = ask(ChatMoA(proposers=[Proposer(model=proposer, samples=3)], aggregator=aggregator), "Go.").response_metadata
    assert [call["proposer"] for call in moa["moa"]["layers"][0]] == ["big-model", "big-model-2", "big-model-3"]
    assert aggregator.seen[0][0].text.count("sample") == 3


def test_any_runnable_from_messages_to_a_message_may_propose(ask):
    shout = RunnableLambda(lambda messages: AIMessage(messages[-1].text.upper()))
    aggregator = ScriptedChatModel()
    ask(ChatMoA(proposers=[shout], aggregator=aggregator), "hello")
    assert aggregator.seen[0][0].text.endswith("\n1. HELLO")


def test_a_runnable_that_returns_no_message_is_a_failed_proposer(ask):
    odd = RunnableLambda(lambda _: {"not": "a message"})
    model = ChatMoA(proposers=[odd, ScriptedChatModel()], aggregator=ScriptedChatModel())
    first = ask(model, "Go.").response_metadata["moa"]["layers"][0][0]
    assert (first["status"], first["error"]) == ("failed", "TypeError: a proposer returns a message, not dict")


def test_a_mixture_may_be_a_proposer_and_an_aggregator_of_another(ask):
    inner, *_ = trio()
    outer = ChatMoA(proposers=[inner], aggregator=inner, model="outer")
    answer = ask(outer, "Go.")
    assert answer.text == "one and two"
    assert answer.response_metadata["model_name"] == "outer"
    assert len(answer.response_metadata["moa"]["layers"]) == 1
    assert answer.usage_metadata["total_tokens"] == 6 * 15


def test_a_proposer_that_takes_too_long_is_left_out(ask):
    released = threading.Event()
    slow = ScriptedChatModel(waits_for=released, model_name="slow")
    aggregator = ScriptedChatModel()
    model = ChatMoA(
        proposers=[Proposer(model=slow, timeout=0.05), ScriptedChatModel(reply="fast")], aggregator=aggregator
    )
    try:
        moa = ask(model, "Go.").response_metadata["moa"]
    finally:
        released.set()
    assert moa["layers"][0][0]["status"] == "timeout"
    assert moa["layers"][0][0]["error"] == "TimeoutError: no answer within 0.05 seconds"
    assert aggregator.seen[0][0].text.endswith("models:\n1. fast")


def test_a_proposer_answers_whole_whoever_listens():
    """A listener upstream must not make the proposers stream: it costs a thousand times the CPU."""
    streamed = []

    class Streaming(ScriptedChatModel):
        def _stream(self, *args, **kwargs):
            streamed.append(self.model_name)
            yield from super()._stream(*args, **kwargs)

    model = ChatMoA(proposers=[Streaming(model_name="proposer")], aggregator=Streaming(model_name="aggregator"))
    list(model.stream("Go."))
    list(model.graph.stream({"messages": "Go."}, stream_mode="messages"))
    assert streamed == ["aggregator", "aggregator"]
