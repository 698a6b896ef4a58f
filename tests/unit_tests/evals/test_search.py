"""`moa eval search`: the best line-up of some models, within a budget."""

import json
import re
import tomllib
from random import Random

import pytest
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from langchain_moa.evals.running.halving import first_questions, halve, rungs_of
from tests.benchmarks.line_up_search import World
from tests.benchmarks.line_up_search import search as search_in
from tests.openai_server import OpenAIServer

# -- Successive halving -----------------------------------------------------------------------------------------------


def test_each_round_has_half_as_many_candidates_and_twice_as_many_questions():
    assert rungs_of(55, first=12, most=100) == [(55, 12), (28, 24), (14, 48), (7, 96), (4, 100), (3, 100)]
    assert rungs_of(2, first=12, most=100) == [(2, 12)]


async def test_those_who_do_worse_are_not_asked_again():
    asked = []

    async def attempt(names, questions):
        asked.append((names, questions))
        return {name: float("nan") if name == "f" else -ord(name) % 7 for name in names}

    rungs = await halve(list("abcdefg"), attempt, first=2, most=9)
    assert [("".join(names), questions) for names, questions in asked] == [("abcdefg", 2), ("cdeg", 4), ("cde", 8)]
    assert "".join(rungs[0].scores) == "cdegabf"
    assert dict(rungs[-1].scores) == {"c": 6, "d": 5, "e": 4}


def test_the_first_round_is_as_large_as_the_budget_allows():
    def cost(rungs):
        return sum(count * questions for count, questions in rungs) / 400

    first = first_questions(12, most=50, least=2, cost=cost)
    assert cost(rungs_of(12, first=first, most=50)) <= 1 < cost(rungs_of(12, first=first + 1, most=50))
    with pytest.raises(ValueError, match=r"too small to search 500 line-ups: give \d+\.\d times as much"):
        first_questions(500, most=50, least=2, cost=cost)


def test_among_models_of_known_accuracy_and_correlated_errors_the_best_line_up_is_found():
    world = World((0.74, 0.72, 0.70, 0.35), 0.3)
    truth, questions = world.results(100_000, seed=0).mean(1), 1000
    found = [search_in(world.results(questions, seed=run), first=60) for run in range(1, 21)]
    assert sum(best == truth.argmax() for best, _, _ in found) >= 18
    # Each line-up that is asked every question takes its proposals and its writer.
    grid = questions * sum(len(members) + 1 for members, _, _ in world.line_ups)
    assert all(4 * questions + calls <= grid / 10 for _, _, calls in found)


# -- The command ------------------------------------------------------------------------------------------------------

KNOWS = {"a": 0.75, "b": 0.7, "c": 0.65, "d": 0.2}
"""How often each model is right by itself."""

WRITES = {"a": 0.6, "b": 1.0, "c": 0.6, "d": 0.0}
"""How often each writer takes the right answer where it stands among the proposals."""


def chance(*parts):
    return Random(repr(parts)).random()


def answer(body):
    """Answer as a model that knows some sums, and as a writer that finds some right answers."""
    model, text = body["model"], str(body["messages"])
    if model == "judge":
        return "[[C]]"
    first, second = map(int, re.search(r"What is (\d+) \+ (\d+)", text).groups())
    right, wrong = first + second, first + second + 1 + int(7 * chance(model, first, "wrong"))
    proposals = re.findall(r"\\n\d+\. It is (\d+)\.", text)
    if not proposals:
        return f"It is {right if chance(model, first) < KNOWS[model] else wrong}."
    return f"It is {right if str(right) in proposals and chance(model, first, 'w') < WRITES[model] else wrong}."


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Return a function that searches, with the server that it asks."""
    rows = [{"id": f"q{n}", "input": f"What is {n} + {n + 1}?", "reference": 2 * n + 1} for n in range(10, 130)]
    (tmp_path / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    with OpenAIServer(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_BASE", server.url)

        def run(*args, models="abcd", budget="2000", code=0):
            named = [f"--model={name}=openai:{name}" for name in models]
            arguments = ["--bench", "sums.jsonl", "--grader", "numeric", "--budget", budget, *named, *args]
            result = CliRunner().invoke(app, ["eval", "search", *arguments])
            if result.exception and not isinstance(result.exception, SystemExit):
                raise result.exception
            assert result.exit_code == code, result.output
            return result

        run.server, run.folder = server, tmp_path / "moa-eval/search/sums"
        yield run


SMALL = ["--way", "synthesize", "--way", "vote", "--writer", "a", "--writer", "b", "--most", "3"]


def test_it_finds_the_members_and_the_writer_within_the_budget_and_the_same_command_asks_nobody_again(search):
    result = search(*SMALL)
    asked = len(search.server.requests)
    assert asked <= 2000
    assert "a+b+c.synthesize.b has the highest score" in result.stdout
    proposals = [body["model"] for body in search.server.requests if len(body["messages"]) == 1]
    assert max(proposals.count(model) for model in KNOWS) <= 120
    report = json.loads((search.folder / "report.json").read_text())
    rows = {row["system"]: row for row in report["systems"]}
    assert {"a", "b", "c", "d", "a+b+c.synthesize.b"} <= set(rows)
    assert rows["a+b+c.synthesize.b"]["spending"]["calls"] == 4
    assert rows["a"]["spending"]["calls"] == 1
    again = search(*SMALL)
    assert len(search.server.requests) == asked
    assert again.stdout == result.stdout


def test_what_it_finds_is_python_and_a_configuration_file_that_moa_ask_takes(search):
    search("--way", "vote", "--writer", "b", "--samples", "2", "--most", "3", models="ab", budget="1500")
    config = search.folder / "moa.toml"
    mixture = tomllib.loads(config.read_text())["mixtures"]["found"]
    assert (mixture["aggregation"], mixture["aggregator"]) == ("vote", "openai:b")
    names = {}
    exec((search.folder / "line_up.py").read_text(), names)
    assert [names["model"].aggregation, names["model"].temperature] == ["vote", mixture["temperature"]]
    asked = CliRunner().invoke(app, ["ask", "--config", str(config), "--model", "found", "What is 3 + 4?"])
    assert asked.exit_code == 0, asked.output
    assert "It is " in asked.stdout


def test_a_search_that_stopped_goes_on_and_makes_no_call_twice(search):
    # Too small, which shows when the first answers have told what an answer costs.
    error = search(*SMALL, models="abc", budget="150", code=1).stderr
    assert "The budget is too small to search 12 line-ups: give " in error
    assert len(search.server.requests) > 0
    search(*SMALL, models="abc")
    asked = len(search.server.requests)
    search(*SMALL, "--out", "at-once", models="abc")
    assert len(search.server.requests) == 2 * asked


def test_the_judges_calls_are_part_of_the_budget(search):
    pair = ["--grader", "pairwise", "--baseline", "a", "--judge", "openai:judge", "--way", "synthesize"]
    search(*pair, "--writer", "b", models="ab", budget="300")
    models = [body["model"] for body in search.server.requests]
    assert 20 < models.count("judge") < len(models) <= 300


def test_a_budget_in_dollars_is_kept(search):
    (search.folder.parents[2] / "prices.json").write_text(
        json.dumps({name: {"input": 1000, "output": 1000} for name in "ab"})
    )
    ways = ["--way", "synthesize", "--writer", "b", "--prices", "prices.json"]
    search(*ways, models="ab", budget="3.5USD")
    rows = [
        json.loads(line) for file in search.folder.glob("*/outputs.jsonl") for line in file.read_text().splitlines()
    ]
    spent = sum(usage["total_tokens"] for row in rows for usage in row["usage"].values()) / 1000
    assert 1 < spent <= 3.5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--budget", "much"], "The budget 'much' is no number of calls"),
        (["--budget", "5USD"], "A budget in dollars needs prices"),
        (["--budget", "40"], "The budget of 40 calls is too small to try"),
        (["--writer", "z"], "The writer 'z' is none of the members: choose from a, b, c, d."),
        (["--model", "a=openai:x"], "Two models are named 'a'"),
        (["--model", "x=self-moa"], "self-moa"),
        (["--limit", "7"], "A search takes at least 8 questions; there are 7."),
    ],
)
def test_what_can_not_be_searched_is_said_before_anything_is_asked(search, args, message):
    assert message in search(*args, code=1).stderr
    assert search.server.requests == []
