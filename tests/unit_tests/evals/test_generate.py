import asyncio
import json
import threading

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_moa import ChatMoA, Proposer
from langchain_moa.cli.evaluation.kept_systems import with_kept_calls
from langchain_moa.evals.benchmarks.sampling import sample
from langchain_moa.evals.results.store import Store
from langchain_moa.evals.running.generate_answers import generate_answers
from langchain_moa.evals.systems import System
from langchain_moa.evals.types import Question
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.quiz import Quiz, question

USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


def last(messages):
    return messages[-1].text


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, benchmark="quiz", system="a")


def lines(store):
    return [json.loads(line) for line in (store.path / "outputs.jsonl").read_text().splitlines()]


async def test_every_turn_is_asked_with_what_was_said_before(store):
    model = ScriptedChatModel(reply=lambda messages: f" re: {last(messages)}\n")
    turns = ((SystemMessage("Be brief."), HumanMessage("One?")), (HumanMessage("Two?"),))
    quiz = Quiz(questions=[Question(id="q", turns=turns)])
    (answer,) = await generate_answers(quiz, System.of("a", model), store)
    assert answer.texts == ("re: One?", "re: Two?")
    seen = [(message.type, message.text) for message in model.seen[1]]
    assert seen == [("system", "Be brief."), ("human", "One?"), ("ai", "re: One?"), ("human", "Two?")]


async def test_each_question_is_decoded_as_the_benchmark_wants(store):
    seen = []

    def build(decoding):
        def reply(messages):
            seen.append((last(messages), decoding))
            return "ok"

        return ScriptedChatModel(reply=reply)

    quiz = Quiz(questions=[question("q1", "One?", temperature=0), question("q2", "Two?")])
    await generate_answers(quiz, System(name="a", fingerprint="1", build=build), store)
    assert seen == [("One?", {"temperature": 0}), ("Two?", {})]


async def test_a_mixture_counts_each_call_inside_once_and_not_the_one_around_them(store):
    first, second, aggregator = (ScriptedChatModel(usage=USAGE, model_name=name) for name in ("x", "y", "x"))
    model = ChatMoA(proposers=[first, second], aggregator=aggregator)
    quiz = Quiz(questions=[question("q", "One?", "Two?")])
    (answer,) = await generate_answers(quiz, System.of("a", model), store)
    assert answer.calls == 6
    assert {name: usage["total_tokens"] for name, usage in answer.usage.items()} == {"x": 28, "y": 14}
    assert [call["proposer"] for call in answer.metadata[0]["moa"]["layers"][0]] == ["x", "y"]


async def test_a_plain_model_that_tells_no_tokens_has_calls_but_no_usage(store):
    (answer, *_) = await generate_answers(Quiz(), System.of("a", ScriptedChatModel()), store)
    assert (answer.calls, answer.usage) == (1, {})
    assert answer.seconds >= 0


async def test_an_error_is_one_questions_alone_and_is_tried_again(store):
    errors = {"Two?": RuntimeError("busy")}

    def reply(messages):
        if error := errors.get(last(messages)):
            raise error
        return "fine"

    model = ScriptedChatModel(reply=reply)
    answers = await generate_answers(Quiz(), System.of("a", model), store)
    assert [answer.error for answer in answers] == [None, "RuntimeError: busy", None]
    assert answers[1].calls == 1
    errors.clear()
    answers = await generate_answers(Quiz(), System.of("a", model), store)
    assert [answer.error for answer in answers] == [None, None, None]
    assert [last(messages) for messages in model.seen] == ["One?", "Two?", "Three?", "Two?"]
    assert len(lines(store)) == 3


async def test_an_empty_answer_is_an_answer(store):
    answers = await generate_answers(Quiz(), System.of("a", ScriptedChatModel(reply=" ")), store)
    assert [(answer.texts, answer.error) for answer in answers] == [(("",), None)] * 3


async def test_what_is_wrong_with_the_configuration_shows_before_the_first_call(store):
    model = ScriptedChatModel()

    def build(decoding):
        if decoding:
            raise ValueError("no key")
        return model

    quiz = Quiz(questions=[question("q1", "One?"), question("q2", "Two?", temperature=0)])
    with pytest.raises(ValueError, match="no key"):
        await generate_answers(quiz, System(name="a", fingerprint="1", build=build), store)
    assert model.seen == []


async def test_so_many_are_asked_at_a_time_and_the_file_is_in_the_benchmarks_order(store):
    gates = {"One?": threading.Event(), "Two?": threading.Event(), "Three?": threading.Event()}
    asked = []

    class Gated(ScriptedChatModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            asked.append(last(messages))
            while not gates[last(messages)].is_set():
                await asyncio.sleep(0.001)
            return self._result("ok")

    finished = []
    work = asyncio.create_task(
        generate_answers(
            Quiz(),
            System.of("a", Gated()),
            store,
            concurrency=2,
            on_answer=lambda answer: finished.append(answer.question),
        )
    )
    while len(asked) < 2:
        await asyncio.sleep(0.001)
    assert asked == ["One?", "Two?"]
    gates["Two?"].set()
    gates["Three?"].set()
    while len(finished) < 2:
        await asyncio.sleep(0.001)
    assert [line["question"] for line in lines(store)] == ["q2", "q3"]
    gates["One?"].set()
    await work
    assert finished == ["q2", "q3", "q1"]
    assert [line["question"] for line in lines(store)] == ["q1", "q2", "q3"]


async def test_a_larger_sample_asks_only_what_a_smaller_one_has_not(store):
    quiz = Quiz(questions=[question(f"q{n}", f"{n}?") for n in range(20)])
    model = ScriptedChatModel(reply=last)
    few, more = sample(quiz.questions, 4, seed=7), sample(quiz.questions, 9, seed=7)
    assert await generate_answers(quiz, System.of("a", model), store, questions=few)
    answers = await generate_answers(quiz, System.of("a", model), store, questions=more)
    assert [answer.question for answer in answers] == [question.id for question in more]
    assert sorted(last(messages) for messages in model.seen) == sorted(question.turns[0][0].text for question in more)


def test_a_sample_is_the_seeds_and_keeps_the_benchmarks_order():
    questions = [question(f"q{n:02}", "?") for n in range(50)]
    assert sample(questions, 10, seed=1) == sample(questions, 10, seed=1) != sample(questions, 10, seed=2)
    assert sample(questions, 10) == sorted(sample(questions, 10), key=lambda question: question.id)
    assert sample(questions, None) == sample(questions, 99) == questions


async def test_answers_of_another_system_are_not_taken_for_its_own(store):
    await generate_answers(Quiz(), System.of("a", ScriptedChatModel()), store)
    other = System(name="a", fingerprint="2", build=lambda _: ScriptedChatModel(reply="new"), spec="openai:other")
    with pytest.raises(ValueError, match=r"another system \(spec 'ScriptedChatModel' -> 'openai:other'.*--overwrite"):
        await generate_answers(Quiz(), other, store)
    answers = await generate_answers(Quiz(), other, store, overwrite=True)
    assert {answer.texts for answer in answers} == {("new",)}


async def test_an_answer_to_another_wording_is_not_taken_for_this_ones(store):
    system = System.of("a", ScriptedChatModel())
    await generate_answers(Quiz(), system, store)
    with pytest.raises(ValueError, match=r"question 'q1' with another wording or decoding.*--overwrite"):
        await generate_answers(Quiz(questions=[question("q1", "Uno?")]), system, store)


async def test_metadata_without_a_form_in_json_becomes_text(store):
    class Odd(ScriptedChatModel):
        def _metadata(self):
            return {"model_name": "odd", "when": AIMessage, "half": "\ud83d", 1: (2, None)}

    (answer, *_) = await generate_answers(Quiz(), System.of("a", Odd()), store)
    assert answer.metadata[0]["half"] == "\ud83d"
    assert answer.metadata[0]["1"] == [2, None]
    assert "AIMessage" in answer.metadata[0]["when"]


# -- What came back for an answer that is not finished ----------------------------------------------------------------


def kept(name, **mixture):
    return with_kept_calls(System.of(name, ChatMoA(**mixture)))


@pytest.mark.parametrize("aggregation", ["synthesize", "vote"])
async def test_a_run_that_ended_asks_no_proposer_again_that_had_answered(store, aggregation):
    numbers = iter(range(100))
    sampled = ScriptedChatModel(reply=lambda messages: f"proposal {next(numbers)}", usage=USAGE)
    inner = ChatMoA(proposers=[sampled], aggregator=sampled)
    gate = threading.Event()
    ending = ScriptedChatModel(reply="done", model_name="last", usage=USAGE, waits_for=gate)
    mixture = {"proposers": [Proposer(model=sampled, samples=2, temperature=1), inner], "aggregator": ending}
    system = kept("a", rounds=2, aggregation=aggregation, include_references=True, **mixture)
    quiz = Quiz(questions=[question("q", "One?")])
    run = asyncio.create_task(generate_answers(quiz, system, store))
    while not ending.seen:
        await asyncio.sleep(0.001)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(sampled.seen) == 2 * (2 + 2)
    gate.set()
    (answer,) = await generate_answers(quiz, system, store)
    assert len(sampled.seen) == 2 * (2 + 2)
    assert (answer.texts, answer.calls) == (("done",), 9)
    assert answer.usage["scripted"]["total_tokens"] == 8 * 7
    said = [call["text"] for layer in answer.metadata[0]["moa"]["layers"] for call in layer]
    assert len(set(said)) == 6
    assert not store.calls.exists()


async def test_of_a_failed_answer_only_what_failed_or_was_empty_is_asked_again(store):
    models = {name: ScriptedChatModel(model_name=name, reply=name) for name in ("good", "empty", "broken", "writer")}
    models["empty"].reply, models["broken"].error, models["writer"].error = "", OSError("busy"), OSError("full")
    good, empty, broken, writer = models.values()
    system = kept("a", proposers=[good, empty, broken], aggregator=writer)
    quiz = Quiz(questions=[question("q1", "One?"), question("q2", "Two?")])
    answers = await generate_answers(quiz, system, store)
    assert [answer.error for answer in answers] == ["OSError: full"] * 2
    writer.error = None
    answers = await generate_answers(quiz, system, store)
    assert [answer.texts for answer in answers] == [("writer",)] * 2
    assert [len(model.seen) for model in models.values()] == [2, 4, 4, 4]


async def test_what_is_kept_is_discarded_with_the_answers(store):
    proposer, writer = ScriptedChatModel(), ScriptedChatModel(error=OSError("full"))
    system = kept("a", proposers=[proposer], aggregator=writer)
    quiz = Quiz(questions=[question("q", "One?")])
    await generate_answers(quiz, system, store)
    assert store.calls.exists()
    await generate_answers(quiz, system, store, overwrite=True)
    assert len(proposer.seen) == 2


async def test_a_kept_reply_takes_as_long_as_it_took(store):
    class Slow(ScriptedChatModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await asyncio.sleep(0.2)
            return await super()._agenerate(messages, stop, run_manager, **kwargs)

    proposer, writer = Slow(), ScriptedChatModel(error=OSError("full"))
    system = kept("a", proposers=[proposer], aggregator=writer)
    quiz = Quiz(questions=[question("q", "One?")])
    await generate_answers(quiz, system, store)
    writer.error = None
    (answer,) = await generate_answers(quiz, system, store)
    assert len(proposer.seen) == 1
    assert answer.seconds > 0.2
    assert answer.metadata[0]["moa"]["layers"][0][0]["seconds"] > 0.19
