"""`moa eval`, as a user runs it."""

import json
import sys

import pytest
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from langchain_moa.lineups import LINEUPS
from tests.openai_server import OpenAIServer, Reply

MODELS = """
from langchain_moa._models.factory import build_model

def plain(temperature=None):
    return build_model("openai:plain", temperature=temperature, max_tokens=None, timeout=10)

def any_decoding(**decoding):
    return build_model("openai:any", **{"temperature": None, "max_tokens": None, **decoding}, timeout=10)

def text():
    return "no model"

def broken():
    raise RuntimeError("out of paper")

def kind(outputs):
    return {"key": "kind", "score": 1, "comment": "How nice."}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rows = [{"id": f"q{n}", "input": f"What is {n} + {n}?", "reference": 2 * n} for n in range(1, 7)]
    (tmp_path / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serve(monkeypatch, folder):
    """Return a function that starts a server, to which every `openai:` and Together model talks."""
    servers = []

    def start(answer=None):
        server = OpenAIServer(answer or (lambda body: "4")).__enter__()
        servers.append(server)
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "TOGETHER_API_BASE"):
            monkeypatch.setenv(name, server.url)
        for name in ("OPENAI_API_KEY", "TOGETHER_API_KEY"):
            monkeypatch.setenv(name, "test-key")
        return server

    yield start
    for server in servers:
        server.__exit__()


def moa_eval(*args, code=0):
    result = CliRunner().invoke(app, ["eval", *args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def error_of(*args):
    return moa_eval(*args, code=1).stderr.splitlines()[-1]


def report(folder, bench="sums"):
    return json.loads((folder / "moa-eval" / bench / "report.json").read_text())


def run(*more, grader="numeric", **options):
    return moa_eval("run", "--bench", "sums.jsonl", "--grader", grader, *more, **options)


# -- Systems ----------------------------------------------------------------------------------------------------------


def test_every_model_of_a_line_up_decodes_as_mt_bench_wants(serve):
    server = serve(lambda body: "[[7]]")
    moa_eval("generate", "--bench", "mt_bench", "--system", "lite=together-moa-lite", "--limit", "2", "--seed", "3")
    proposers, turns, questions = len(LINEUPS["together-moa-lite"].proposers), 2, 2
    assert len(server.requests) == (proposers + 1) * turns * questions
    assert {request["max_tokens"] for request in server.requests} == {1024}
    by_question = {}
    for request in server.requests:
        asked = [message["content"] for message in request["messages"] if message["role"] == "user"]
        by_question.setdefault(asked[0], set()).add(request["temperature"])
    assert [len(temperatures) for temperatures in by_question.values()] == [1, 1]


def test_a_models_string_gets_the_decoding_and_the_references_are_kept_for_later(serve, folder):
    server = serve()
    systems = ["--system", "one=openai:gpt", "--system", "lite=together-moa-lite"]
    moa_eval("generate", "--bench", "sums.jsonl", *systems, "--limit", "1")
    assert server.requests[0]["model"] == "gpt"
    row = json.loads((folder / "moa-eval/sums/lite/outputs.jsonl").read_text())
    assert [call["text"] for call in row["metadata"][0]["moa"]["layers"][0]] == ["4"] * 6
    assert (row["calls"], sum(usage["output_tokens"] for usage in row["usage"].values())) == (7, 49)


def test_a_factory_is_called_with_the_decoding_that_it_takes(serve, folder):
    server = serve(lambda body: "[[7]]")
    (folder / "factories_a.py").write_text(MODELS)
    systems = ["--system", "plain=factories_a:plain", "--system", "any=factories_a:any_decoding"]
    moa_eval("generate", "--bench", "mt_bench", *systems, "--limit", "1")
    plain, anything = server.requests[0], server.requests[2]
    assert plain["model"] == "plain"
    assert "max_completion_tokens" not in plain
    assert anything["model"] == "any"
    assert anything["max_completion_tokens"] == 1024
    assert plain["temperature"] == anything["temperature"]


def test_a_model_whose_name_could_be_a_functions_is_a_model_where_there_is_no_such_function(serve, folder):
    server = serve()
    moa_eval("generate", "--bench", "sums.jsonl", "--system", "openai:o3", "--limit", "1")
    assert [request["model"] for request in server.requests] == ["o3"]
    assert (folder / "moa-eval/sums/openai-o3/outputs.jsonl").exists()


def test_a_spec_that_is_nothing_is_named(serve, folder):
    serve()
    (folder / "factories_b.py").write_text(MODELS)
    generate = ["generate", "--bench", "sums.jsonl", "--system"]
    assert "System 'nothing' is unknown: give a line-up (default, " in error_of(*generate, "x=nothing")
    assert "'factories_b:text' returned a str: it must return a chat model." in error_of(
        *generate, "x=factories_b:text"
    )
    assert "'factories_b:broken' failed: RuntimeError: out of paper" in error_of(*generate, "x=factories_b:broken")
    assert f"{str(folder / 'factories_b.py')!r} has no function 'plian'" in error_of(*generate, "x=factories_b:plian")
    assert "'a/b' is not a valid file name" in error_of(*generate, "a/b=openai:c")
    two = [*generate, "x=openai:c", "--system", "x=openai:d"]
    assert "Two systems are named 'x'" in error_of(*two)
    assert moa_eval(*generate, "x=", code=2)


def test_a_missing_key_shows_before_anything_is_asked(monkeypatch, folder):
    assert "set TOGETHER_API_KEY" in error_of("generate", "--bench", "sums.jsonl", "--system", "x=together-moa")
    two = ["--system", "a=local", "--system", "b=together-moa"]
    assert "set TOGETHER_API_KEY" in error_of("generate", "--bench", "sums.jsonl", *two)
    judged = ["--bench", "mt_bench", "--system", "a=local", "--judge", "together:x/y"]
    assert "set TOGETHER_API_KEY" in error_of("run", *judged)
    assert not list(folder.rglob("outputs.jsonl"))


# -- What it would take -----------------------------------------------------------------------------------------------


def test_a_dry_run_tells_calls_and_tokens_and_asks_nobody(serve, folder):
    server = serve()
    systems = ["--system", "moa=together-moa", "--system", "one=openai:gpt"]
    result = moa_eval("run", "--bench", "mt_bench", *systems, "--judge", "openai:gpt-4", "--dry-run")
    header, moa, one, total, _ = [line.split("\t") for line in result.stdout.splitlines()]
    assert header[:4] == ["benchmark", "system", "questions", "calls"]
    # Two rounds of six proposers and the aggregator, for each of two turns; the judge rates each turn.
    assert (moa[2], moa[3], moa[6]) == ("80", "2,080", "160")
    assert (one[2], one[3], one[6]) == ("80", "160", "160")
    assert (total[0], total[3], total[6]) == ("all", "2,240", "320")
    assert all(cell.startswith("~") for cell in (*moa[4:6], *moa[7:9]))
    assert server.requests == []
    assert not (folder / "moa-eval").exists()


def test_a_dry_run_knows_that_a_pair_is_judged_in_both_orders_and_the_baseline_not_at_all(serve):
    serve()
    systems = ["--system", "a=openai:a", "--system", "b=openai:b", "--baseline", "a", "--judge", "openai:judge"]
    _, first, second, *_ = run(*systems, "--dry-run", grader="pairwise").stdout.splitlines()
    assert (first.split("\t")[6], second.split("\t")[6]) == ("0", "12")


def test_a_dry_run_tells_what_the_questions_can_show_from_what_is_measured_so_far(serve, folder):
    serve(lambda body: "4" if body["model"] == "a" else str(2 * int(body["messages"][-1]["content"].split()[2])))
    systems = ["--system", "a=openai:a", "--system", "b=openai:b"]
    result = run(*systems, "--dry-run", "--detect", "5")
    assert "sums: 6 questions can show a difference of" in result.stdout
    assert "nothing measured yet" in result.stdout
    assert "a difference of 5 takes 1,5" in result.stdout
    run(*systems, "--baseline", "a")
    result = run(*systems, "--baseline", "a", "--dry-run", "--detect", "5")
    assert "from b and a on 6 questions so far, SD 40.82" in result.stdout


FACTORIES = """
from langchain_moa import ChatMoA, Proposer

one = "openai:one"

def mixture():
    inner = ChatMoA(proposers=[one, one], aggregator=one, rounds=2)
    return ChatMoA(proposers=[Proposer(model=one, samples=3), inner], aggregator=one)

def analyzed():
    return ChatMoA(proposers=[one, one], aggregator=one, aggregation="analyze")
"""


def test_a_dry_run_counts_what_a_factory_builds_as_the_run_does(serve, folder):
    serve()
    (folder / "factories_c.py").write_text(FACTORIES)
    args = ["--limit", "2", "--system", "nested=factories_c:mixture", "--system", "analyzed=factories_c:analyzed"]
    foreseen = [line.split("\t")[3] for line in run(*args, "--dry-run").stdout.splitlines()[1:4]]
    assert foreseen == [str(2 * (3 + 5 + 1)), str(2 * (2 + 2)), "26"]
    run(*args)
    for name, calls in (("nested", 9), ("analyzed", 4)):
        answers = (folder / f"moa-eval/sums/{name}/outputs.jsonl").read_text().splitlines()
        assert [json.loads(answer)["calls"] for answer in answers] == [calls] * 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--system", "a/b=openai:c"], "'a/b' is not a valid file name"),
        (["--system", "a=openai:c", "--prices", "none.json"], "none.json"),
        (["--system", "a=nobody:c"], "nobody"),
        (["--system", "a=openai:c", "--judge", "a/b=openai:j"], "'a/b' is not a valid file name"),
        (["--system", "a=openai:c", "--judge", "nobody:j"], "nobody"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_dry_run_refuses_what_the_run_refuses(serve, folder, args, message, dry):
    server = serve()
    assert message in error_of("run", "--bench", "sums.jsonl", "--grader", "numeric", *args, *dry)
    assert server.requests == []
    assert not (folder / "moa-eval").exists()


# -- Judging and reporting --------------------------------------------------------------------------------------------


def test_a_task_is_answered_graded_and_reported_with_what_it_cost(serve, folder):
    serve(lambda body: "4" if body["model"] == "right" else "5")
    (folder / "prices.json").write_text('{"right": {"input": 1, "output": 2}, "wrong": {"input": 1, "output": 2}}')
    systems = ["--system", "right=openai:right", "--system", "wrong=openai:wrong"]
    result = run(*systems, "--prices", "prices.json", "--limit", "3", "--judge", "openai:unused")
    assert "Partial: 3 of the 6 questions were asked." in result.stdout
    right, wrong = report(folder)["systems"]
    assert (right["system"], right["answers"], wrong["score"]) == ("right", 3, 0)
    assert right["spending"]["usd_per_100"] == pytest.approx(100 * (11 + 2 * 7) / 1_000_000)
    assert report(folder)["judge"] is None
    assert {path.name for path in (folder / "moa-eval/sums").glob("report.*")} == {
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
    }


def test_a_pairwise_tasks_baseline_may_grow_without_paying_again_for_what_is_judged(serve, folder):
    server = serve(lambda body: "[[B]]" if body["model"] == "judge" else body["model"])
    options = ["--system", "a=openai:a", "--system", "b=openai:b", "--baseline", "a", "--judge", "openai:judge"]
    run(*options, "--limit", "2", grader="pairwise")
    asked = len(server.requests)
    assert asked == 2 * 2 + 2 * 2
    run(*options, "--limit", "5", grader="pairwise")
    assert len(server.requests) - asked == 2 * 3 + 2 * 3
    baseline, system = report(folder)["systems"]
    assert (baseline["score"], system["score"], system["figures"]["consistency"]) == (50, 50, 0)


def test_what_a_reader_has_to_know_of_the_answers_is_in_the_report(serve, folder):
    serve(lambda body: "" if "1 + 1" in str(body["messages"]) else "4")
    moa_eval("generate", "--bench", "sums.jsonl", "--system", "one=openai:c", "--limit", "3")
    moa_eval("judge", "--bench", "sums.jsonl", "--grader", "numeric")
    moa_eval("generate", "--bench", "sums.jsonl", "--system", "one=openai:c")
    moa_eval("report", "--bench", "sums.jsonl", "--grader", "numeric")
    assert "one: 3 of 6 answers are not judged: run `moa eval judge`." in report(folder)["warnings"]
    assert "one: 1 of 6 answers are empty." in report(folder)["warnings"]


def test_a_system_of_which_nothing_came_is_reported_all_the_same(serve, folder):
    serve(lambda body: Reply(status=401, error="Incorrect API key provided.") if body["model"] == "b" else "4")
    result = run("--system", "a=openai:a", "--system", "b=openai:b", code=1)
    assert "sums · b · answers: 6/6, 6 failed" in result.stderr
    assert "Warning: b: 6 of 6 answers failed; they count as wrong." in result.stdout
    assert result.stderr.splitlines()[-1] == "moa: 6 answers failed; run the same command again to retry them."
    assert [(system["failed"], system["score"]) for system in report(folder)["systems"]] == [
        (0, pytest.approx(100 / 6)),
        (6, 0),
    ]


def test_the_baseline_is_reported_with_the_systems_that_are_compared_with_it(serve, folder):
    serve(lambda body: "[[B]]" if body["model"] == "judge" else body["model"])
    systems = [f"--system={name}=openai:{name}" for name in ("a", "b", "c")]
    moa_eval("generate", "--bench", "sums.jsonl", *systems, "--limit", "2")
    pairwise = ["--bench", "sums.jsonl", "--grader", "pairwise", "--baseline", "a", "--system", "b"]
    moa_eval("judge", *pairwise, "--judge", "openai:judge")
    result = moa_eval("report", *pairwise)
    assert [system["system"] for system in report(folder)["systems"]] == ["b", "a"]
    assert not any("not judged" in warning for warning in report(folder)["warnings"])
    assert "wins\t0\t0" in result.stdout
    assert "sums: computing the intervals" in result.stderr


def test_a_grader_of_ones_own_lies_where_the_command_is_run_and_its_comments_are_no_judges(serve, folder, monkeypatch):
    serve()
    (folder / "graders_a.py").write_text(MODELS)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    moa_eval("generate", "--bench", "sums.jsonl", "--system", "a=openai:a", "--limit", "2")
    own = ["--bench", "sums.jsonl", "--grader", "graders_a:kind"]
    moa_eval("judge", *own)
    moa_eval("report", *own)
    told = report(folder)
    assert (told["judge"], told["judge_mode"]) == (None, None)
    assert (told["systems"][0]["score"], told["systems"][0]["judge_spending"]["calls"]) == (1, 0)


def test_of_several_judges_one_is_reported(serve, folder):
    serve(lambda body: {"a": "text", "mild": "[[9]]", "strict": "[[2]]"}[body["model"]])
    bench = ["--bench", "mt_bench", "--limit", "1"]
    moa_eval("generate", *bench, "--system", "a=openai:a")
    moa_eval("judge", *bench, "--judge", "mild=openai:mild")
    moa_eval("judge", *bench, "--judge", "openai:strict")
    assert "several judges (mild, openai-strict): choose one with --judge." in error_of("report", *bench)
    assert "no judgments of 'x'; choose from mild, openai-strict." in error_of("report", *bench, "--judge", "x")
    moa_eval("report", *bench, "--judge", "openai:strict")
    assert (report(folder, "mt_bench")["judge"], report(folder, "mt_bench")["systems"][0]["score"]) == (
        "openai-strict",
        2,
    )


def test_the_judge_that_also_answers_is_warned_of(serve, folder):
    serve(lambda body: "[[8]]")
    systems = ["--system", "a=openai:a", "--judge", "openai:a", "--limit", "1"]
    assert "The judge 'a' also took part in the answers" in moa_eval("run", "--bench", "mt_bench", *systems).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--bench", "mt_bench"], "'mt_bench' needs a judge: pass one with --judge."),
        (["--bench", "sums.jsonl", "--grader", "pairwise", "--judge", "openai:j"], "--baseline NAME"),
        (["--bench", "sums.jsonl", "--baseline", "z"], "baseline 'z' is not one of the systems: choose from a."),
        (
            ["--bench", "arena"],
            "Benchmark 'arena' is unknown; choose from alpaca_eval, mt_bench, flask, ifeval,",
        ),
        (["--bench", "none.jsonl"], "none.jsonl"),
        (["--bench", "sums.jsonl", "--grader", "magic"], "magic"),
        (["--bench", "sums.jsonl", "--grader", "choice"], "Question 'q1'"),
        (["--bench", "sums.jsonl", "--bench", "./sums.jsonl"], "Two benchmarks are named 'sums'"),
        (["--bench", "sums.jsonl", "--prices", "none.json"], "none.json"),
    ],
)
def test_what_can_not_be_judged_is_not_paid_for(serve, args, message):
    server = serve()
    assert message in error_of("run", *args, "--system", "a=openai:a")
    assert server.requests == []


def test_a_missing_extra_shows_before_anything_is_asked(serve, monkeypatch):
    server = serve()
    monkeypatch.delitem(sys.modules, "langchain_moa.evals.report.html_page", raising=False)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    error = error_of("run", "--bench", "sums.jsonl", "--grader", "numeric", "--system", "a=openai:a")
    assert error.endswith('pip install "langchain-moa[evals]"')
    assert server.requests == []


def test_nothing_to_judge_or_report_is_said(folder):
    assert "No answers to 'sums' in 'moa-eval': run `moa eval generate`." in error_of("judge", "--bench", "sums.jsonl")
    assert "No answers of 'x'" in error_of("report", "--bench", "sums.jsonl", "--system", "x")


def test_what_is_damaged_is_said_and_asked_for_again(serve, folder):
    server = serve()
    args = ["--system", "x=openai:c"]
    run(*args)
    path = folder / "moa-eval/sums/x/outputs.jsonl"
    path.write_bytes(b"\x00garbage\n" + path.read_bytes().partition(b"\n")[2])
    server.reset()
    result = run(*args)
    assert "outputs.jsonl', line 1 is damaged (" in result.stderr
    assert len(server.requests) == 1
    assert (folder / "moa-eval/sums/x/outputs.jsonl.damaged").read_bytes() == b"\x00garbage\n"
    assert "damaged" not in moa_eval("report", "--bench", "sums.jsonl", "--grader", "numeric").stderr


def test_a_name_in_a_published_file_that_no_file_can_have_is_rewritten(folder):
    (folder / "published.jsonl").write_text('{"id": "q1", "system": "gpt-3.5-turbo:20230327", "output": "2"}\n')
    assert (
        moa_eval("import", "published.jsonl", "--bench", "sums.jsonl").stdout == "gpt-3.5-turbo-20230327: 1 answers\n"
    )


def test_judgments_are_discarded_only_when_told_to_and_the_answers_stay(serve, folder):
    server = serve(lambda body: "[[9]]" if body["model"] == "judge" else "text")
    bench = ["--bench", "mt_bench", "--limit", "1"]
    moa_eval("generate", *bench, "--system", "a=openai:a")
    for more in ([], [], ["--overwrite"]):
        moa_eval("judge", *bench, "--judge", "openai:judge", *more)
    assert [request["model"] for request in server.requests] == ["a", "a", *["judge"] * 4]


def test_failed_answers_are_left_out_of_the_report_on_request(serve, folder):
    serve(lambda body: Reply(status=422, error="no") if "1 + 1" in str(body["messages"]) else "4")
    run("--system", "a=openai:a", "--failures", "drop", code=1)
    (system,) = report(folder)["systems"]
    assert (system["scored"], system["score"]) == (5, 20)
    assert system["score_otherwise"] == pytest.approx(100 / 6)
    moa_eval("report", "--bench", "sums.jsonl", "--grader", "numeric")
    assert (report(folder)["failures"], report(folder)["systems"][0]["scored"]) == ("wrong", 6)


MIXTURES = """
from langchain_moa import ChatMoA

def mixture():
    proposers = ["openai:a", "openai:b", "openai:a"]
    return ChatMoA(proposers=proposers, aggregator="openai:a", include_references=True)
"""


def test_a_mixture_is_compared_with_its_best_model_given_the_same_money(serve, folder):
    server = serve(lambda body: "4" if body["model"] == "a" else "5")
    (folder / "mixtures_a.py").write_text(MIXTURES)
    (folder / "prices.json").write_text(json.dumps({name: {"input": 1, "output": 1} for name in "ab"}))
    systems = ["--system", "a=openai:a", "--system", "b=openai:b", "--system", "moa=mixtures_a:mixture"]
    result = run(*systems, "--prices", "prices.json", "--equal-cost")
    names = [system["system"] for system in report(folder)["systems"]]
    assert names == ["a", "b", "moa", "moa.equal-cost-and-calls.a-x4"]
    pairs = [(verdict["system"], verdict["other"]) for verdict in report(folder)["verdicts"]]
    assert pairs == [("moa", name) for name in names if name != "moa"]
    manifest = json.loads((folder / "moa-eval/sums/moa.equal-cost-and-calls.a-x4/manifest.json").read_text())
    assert manifest["outputs"]["system"]["spec"] == "4 samples of a, voted"
    asked = len(server.requests)
    again = run(*systems, "--prices", "prices.json", "--equal-cost")
    assert (len(server.requests), again.stdout) == (asked, result.stdout)
    moa_eval("report", "--bench", "sums.jsonl", "--grader", "numeric")
    assert [(one["system"], one["other"]) for one in report(folder)["verdicts"]] == pairs


def test_where_answers_can_not_vote_the_model_aggregates_its_samples(serve, folder):
    serve(lambda body: "[[7]]")
    (folder / "mixtures_b.py").write_text(MIXTURES)
    (folder / "prices.json").write_text(json.dumps({name: {"input": 1, "output": 1} for name in ("a", "b", "judge")}))
    systems = ["--system", "a=openai:a", "--system", "moa=mixtures_b:mixture", "--judge", "openai:judge"]
    moa_eval("run", "--bench", "mt_bench", "--limit", "2", *systems, "--prices", "prices.json", "--equal-cost")
    rows = {row["system"]: row["spending"]["calls"] for row in report(folder, "mt_bench")["systems"]}
    assert rows["moa.equal-calls.a-x3"] == rows["moa"] == 8
    (bought,) = [name for name in rows if ".equal-cost." in name]
    assert rows[bought] <= rows["moa"]


def test_equal_money_needs_prices_and_a_single_model(serve, folder):
    server = serve()
    (folder / "prices.json").write_text('{"a": {"input": 1, "output": 1}}')
    dry = run("--system", "a=openai:a", "--equal-cost", "--prices", "prices.json", "--dry-run")
    assert "--equal-cost comes on top" in dry.stdout
    (folder / "mixtures_c.py").write_text(MIXTURES)
    only = ["run", "--bench", "sums.jsonl", "--grader", "numeric", "--system", "moa=mixtures_c:mixture", "--equal-cost"]
    assert "--equal-cost needs the prices of the models" in error_of(*only)
    assert server.requests == []
    (folder / "prices.json").write_text(json.dumps({"a": {"input": 1, "output": 1}}))
    assert "--equal-cost needs a single model" in error_of(*only, "--prices", "prices.json")
    with_single = [*only, "--system", "a=openai:a", "--prices", "prices.json"]
    assert "needs the prices of all models in 'moa' and 'a'" in error_of(*with_single)


# -- Other tools' files -----------------------------------------------------------------------------------------------


def test_results_in_fastchats_form_come_back_as_they_were(serve, folder):
    serve(lambda body: "[[6]]" if body["model"] == "judge" else Reply(text=f"text of {len(body['messages'])}"))
    bench = ["--bench", "mt_bench"]
    moa_eval("run", *bench, "--system", "a=openai:a", "--judge", "judge=openai:judge", "--limit", "3")
    before = report(folder, "mt_bench")["systems"][0]
    written = moa_eval("export", "there", *bench).stdout.splitlines()
    answers, judgments = (next(path for path in written if part in path) for part in ("answer", "judgment"))
    moa_eval("import", answers, *bench, "--judgments", judgments, "--judge", "judge", "--out", "again")
    moa_eval("report", *bench, "--out", "again")
    after = json.loads((folder / "again/mt_bench/report.json").read_text())["systems"][0]
    same = ("system", "score", "scored", "figures", "breakdowns", "mean_length")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["spending"]["calls"] is None
    again = ["import", answers, *bench, "--out", "again", "--system"]
    moa_eval(*again, "renamed")
    assert (folder / "again/mt_bench/renamed/outputs.jsonl").exists()


def test_imported_judgments_of_another_system_are_not_taken_for_this_ones(serve, folder):
    serve()
    rows = [{"id": "q1", "system": name, "output": "2", "score": 1} for name in ("a", "b")]
    (folder / "answers.jsonl").write_text(json.dumps(rows[0]))
    (folder / "judgments.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows[1:] * 2))
    (folder / "both.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = ["--bench", "sums.jsonl"]
    assert "judges b, not 'a'" in error_of("import", "answers.jsonl", *task, "--judgments", "judgments.jsonl")
    assert "several systems, and none is 'c'" in error_of("import", "both.jsonl", *task, "--system", "c")
    moa_eval("import", "both.jsonl", *task, "--judgments", "both.jsonl", "--system", "b", "--judge", "me")
    assert json.loads((folder / "moa-eval/sums/b/judgments-me.jsonl").read_text())["score"] == 1
    assert "another system (spec 'imported from both.jsonl'" in error_of("generate", *task, "--system", "b=openai:b")
