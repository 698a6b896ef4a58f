"""Ways of aggregating: over HTTP as the guide tells of them, on recorded and scripted votes, on the local model."""

import asyncio
import json
import math
import random
import re
from collections import Counter
from itertools import product
from math import ceil
from pathlib import Path

import pytest

from langchain_moa import ChatMoA
from langchain_moa.answer_keys import choice
from langchain_moa.gates import unless_easy, unless_scouts_agree
from tests.fakes import ScriptedChatModel
from tests.local_model import needs_local_model
from tests.unit_tests.test_aggregation import ANALYSIS, choosing, tool_call
from tests.unit_tests.test_cookbook import RUN, replay

ROOT = Path(__file__).parents[2]

# -- Over HTTP, with as many calls as the guide says -----------------------------------------------------------------


def stated():
    """Return the guide's options, and how many calls it says that each takes: one formula per way that it may go."""
    section = (ROOT / "docs/pages/how-to/aggregation.md").read_text().partition("\n## ")[0]
    table = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("|` "): re.findall(r"`(.+?)`", cells[2]) for cells in table}


FOUR = ("one", "two", "three", "four")

# What the proposers say, what the others say in turn, and the answer: for each option, a case per formula.
CASES = {
    'aggregation="synthesize"': [(FOUR, ["written"], "written")],
    'aggregation="select"': [(FOUR, [choosing("two")], "two")],
    'aggregation="select", judge_samples=k': [
        (FOUR, [choosing("two")] * 3, "two"),
        (FOUR, [choosing("one"), choosing("two"), choosing("three"), "written"], "written"),
    ],
    'aggregation="select", judge=j, criteria=c': [(FOUR, [choosing("two")], "two")],
    'aggregation="vote"': [(("7", "8", "9", "7"), [], "7"), (("7", "8", "9", "10"), ["written"], "written")],
    'aggregation="analyze"': [(FOUR, [tool_call(ANALYSIS), "written"], "written")],
    "window=w, reserve=r": [(FOUR * 3, ["pass 1", "pass 2", "pass 3", "written"], "written")],
    "fan_out=unless_scouts_agree(a, b)": [
        (FOUR, ["7", "7", "written"], "written"),
        (FOUR, ["7", "8", "written"], "written"),
    ],
    "fan_out=unless_easy(m)": [
        (FOUR, [tool_call({"is_easy": True}, "Difficulty"), "written"], "written"),
        (FOUR, [tool_call({"is_easy": False}, "Difficulty"), "written"], "written"),
    ],
}
VALUES = {
    "k": 3,
    "j": "lab/judge",
    "c": "Be brief.",
    "w": 5,
    "r": 2,
    "a": "lab/scout-a",
    "b": "lab/scout-b",
    "m": "lab/gate",
} | {gate.__name__: gate for gate in (unless_easy, unless_scouts_agree)}


def test_the_guide_states_the_calls_of_every_case():
    assert {option: len(formulas) for option, formulas in stated().items()} == {
        option: len(cases) for option, cases in CASES.items()
    }


@pytest.mark.parametrize(
    ("option", "way"), [(option, way) for option, cases in CASES.items() for way in range(len(cases))]
)
def test_a_way_makes_as_many_calls_as_the_readme_says(together, ask, option, way):
    proposals, others, text = CASES[option][way]
    names = [f"lab/p{number:02}" for number in range(len(proposals))]
    said, in_turn = dict(zip(names, proposals, strict=True)), iter(others)

    def reply(body):
        other = said.get(body["model"]) or next(in_turn)
        return other(body) if callable(other) else other

    server = together(reply)
    model = ChatMoA(proposers=names, aggregator="lab/writer", **eval(f"dict({option})", VALUES))
    answer = ask(model, "Q")
    calls = eval(stated()[option][way].removesuffix(" at most"), {"n": len(proposals), "ceil": ceil, **VALUES})
    assert answer.text == text
    assert len(server.requests) == calls
    assert answer.usage_metadata["total_tokens"] == calls * 18
    assert server.errors == []


# -- Votes on recorded and on scripted answers ------------------------------------------------------------------------


def test_the_cookbooks_proposals_disagree_and_the_recorded_synthesis_decides(together, ask):
    server = together(replay)
    answer = ask(ChatMoA(model="cookbook", aggregation="vote"), RUN["prompt"])
    moa = answer.response_metadata["moa"]
    assert moa["vote"] == {"votes": {"42412": 1, "42639": 1, "42409": 1}}
    assert [step["reason"] for step in moa["degraded"]] == ["proposer_truncated", "vote_tied"]
    assert moa["aggregation"] == "synthesize"
    assert answer.text == RUN["aggregator"]["text"]
    assert RUN["expected_answer"] in answer.text.splitlines()[-1]
    assert len(server.requests) == 5


QUESTIONS = [json.loads(line) for line in (ROOT / "tests" / "data" / "mmlu_tiny.jsonl").read_text().splitlines()]
PROMPTS = [f"{row['question']}\n{row['options']}" for row in QUESTIONS]
RIGHT = [row["answer"][0] for row in QUESTIONS]
ACCURACIES = (0.5, 0.5, 0.6, 0.6, 0.7)
FORMS = ("The answer is {}.", "({})", "Answer: **{}**", r"It can't be the others.\[\boxed{{{}}}\]")
ON_A_TIE = "A"


def scripted_letters():
    """Return each proposer's letter for each question: right as often as its accuracy, else one of the wrong ones."""
    draw = random.Random(0)
    return [
        [right if draw.random() < accuracy else draw.choice("ABCD".replace(right, "")) for right in RIGHT]
        for accuracy in ACCURACIES
    ]


def voters(letters):
    """Return a mixture of proposers that answer with these letters, and the proposers."""

    def saying(own, form):
        replies = {prompt: form.format(letter) for prompt, letter in zip(PROMPTS, own, strict=True)}
        return ScriptedChatModel(reply=lambda messages: replies[messages[-1].text])

    forms = [FORMS[number % len(FORMS)] for number in range(len(letters))]
    proposers = [saying(own, form) for own, form in zip(letters, forms, strict=True)]
    aggregator = ScriptedChatModel(reply=f"The answer is {ON_A_TIE}.")
    return ChatMoA(proposers=proposers, aggregator=aggregator, aggregation="vote"), proposers


def majority(votes):
    """Return the letter of most votes; on a tie, the aggregator's."""
    (first, most), *others = Counter(votes).most_common()
    return ON_A_TIE if others and others[0][1] == most else first


def chance(right):
    """Return how likely the vote on a question is right."""
    odds = [{x: p if x == right else (1 - p) / 3 for x in "ABCD"} for p in ACCURACIES]
    return sum(
        math.prod(odd[x] for odd, x in zip(odds, votes, strict=True))
        for votes in product("ABCD", repeat=len(odds))
        if majority(votes) == right
    )


def test_the_accuracy_of_a_vote_on_multiple_choice_is_the_computed_one():
    letters = scripted_letters()
    model, _ = voters(letters)
    answers = asyncio.run(model.abatch(PROMPTS))
    decided = [choice(answer.text) for answer in answers]
    assert decided == [majority(votes) for votes in zip(*letters, strict=True)]
    assert {answer.response_metadata["moa"]["aggregation"] for answer in answers} == {"vote", "synthesize"}

    accuracy = sum(map(str.__eq__, decided, RIGHT)) / len(RIGHT)
    chances = {right: chance(right) for right in "ABCD"}
    expected = sum(chances[right] for right in RIGHT) / len(RIGHT)
    standard_error = math.sqrt(sum(chances[right] * (1 - chances[right]) for right in RIGHT)) / len(RIGHT)
    assert abs(accuracy - expected) < 2 * standard_error
    assert accuracy > max(ACCURACIES)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_asked_one_by_one_no_proposer_is_asked_once_the_vote_is_decided_and_the_winner_stays_the_same(is_async):
    letters = scripted_letters()
    model, proposers = voters(letters)
    needed = 0
    for prompt, *votes in zip(PROMPTS, *letters, strict=True):
        question, one_by_one = {"messages": prompt}, {"max_concurrency": 1}
        if is_async:
            state = asyncio.run(model.graph.ainvoke(question, one_by_one))
        else:
            state = model.graph.invoke(question, one_by_one)
        assert choice(state["messages"][-1].text) == majority(votes)
        needed += votes_needed(votes)
    assert sum(len(proposer.seen) for proposer in proposers) == needed
    assert needed < len(PROMPTS) * len(proposers)


def votes_needed(votes):
    """Return after how many votes the leader is ahead of the second by more than there are votes to come."""
    for count in range(1, len(votes)):
        first, second, *_ = [*sorted(Counter(votes[:count]).values(), reverse=True), 0]
        if first - second > len(votes) - count:
            return count
    return len(votes)


# -- On the local model -----------------------------------------------------------------------------------------------

local = needs_local_model
CAPITAL = "What is the capital of France?"


def ask_local(**options):
    answer = ChatMoA(model="local", include_references=True, **options).invoke(CAPITAL)
    moa = answer.response_metadata["moa"]
    return answer, moa, [call["text"] for call in moa["layers"][0] if call["status"] == "ok"]


def reasons(moa):
    return [step["reason"] for step in moa["degraded"] if "proposer" not in step]


@local
def test_the_local_model_selects_one_of_its_proposals():
    answer, moa, proposals = ask_local(aggregation="select")
    assert [step["step"] for step in moa.get("steps", [])] == ["select"] * (len(proposals) > 1)
    if moa["aggregation"] == "select":
        assert answer.text in proposals
        assert moa["selected"]["proposer"] in {"brief", "beginner", "example"}
        assert moa["aggregator"] is None
    else:  # so small a model may give no verdict, or not come to an end in a single proposal
        assert reasons(moa) == ["verdict_unusable" if proposals else "no_complete_candidate"]
    assert answer.text


@local
def test_the_local_models_samples_vote():
    answer, moa, proposals = ask_local(aggregation="vote", answer_key=r"(?i)\b(Paris|London|Lyon)\b")
    if moa["aggregation"] == "vote":
        assert answer.text in proposals
        assert moa["vote"]["answer"].lower() in answer.text.lower()
        assert moa["aggregator"] is None
    else:
        assert set(reasons(moa)) <= {"vote_tied", "vote_without_answer"} and reasons(moa)
    assert answer.text


@local
def test_the_local_model_analyzes_and_then_answers():
    answer, moa, _ = ask_local(aggregation="analyze", temperature=0, max_tokens=512)
    assert [step["step"] for step in moa["steps"]] == ["analyze"]
    if moa["aggregation"] == "analyze":
        assert set(moa["analysis"]) == set(ANALYSIS)
        assert all(isinstance(point, str) for points in moa["analysis"].values() for point in points)
    else:
        assert reasons(moa) == ["analysis_unusable"]
    assert moa["aggregator"]["model"] == "smollm2-135m-instruct"
    assert answer.text
