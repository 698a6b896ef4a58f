import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from time import sleep
from urllib.request import urlopen

import pytest

from tests.evals_fixtures import FIXTURES
from tests.local_model import needs_local_model
from tests.openai_server import OpenAIServer, Reply

pytestmark = pytest.mark.timeout(600)  # up to five processes, one after the other, each with seconds of imports

MOA = str(Path(sys.executable).with_name("moa"))
TASK = [{"id": f"q{n}", "input": f"What is {n} + {n}?", "reference": 2 * n} for n in range(1, 7)]
LOGPROBS = {
    "content": [
        {
            "token": "M",
            "logprob": -0.1,
            "bytes": None,
            "top_logprobs": [
                {"token": "M", "logprob": -0.1, "bytes": None},
                {"token": "m", "logprob": -2.4, "bytes": None},
            ],
        }
    ]
}
MODELS = """
from langchain_moa import ChatMoA
from langchain_openai import ChatOpenAI


def mixture(temperature=None):
    first, second, aggregator = (ChatOpenAI(model=name, temperature=temperature) for name in ("a", "b", "a"))
    return ChatMoA(proposers=[first, second], aggregator=aggregator, include_references=True)
"""
LOCAL = """
from langchain_moa import ChatMoA, Proposer
from langchain_moa.local import ChatLocal


def single(temperature=0.0):
    return ChatLocal(temperature=temperature, max_tokens=8)


def mixture(temperature=0.0):
    model = single(temperature)
    proposers = [Proposer(model=model, name="brief", instructions="Be brief."), Proposer(model=model, name="plain")]
    return ChatMoA(proposers=proposers, aggregator=model, include_references=True)


def self_moa(temperature=0.0):
    model = single(temperature)
    return ChatMoA(proposers=[Proposer(model=model, samples=2)], aggregator=model, include_references=True)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in TASK))
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "local_models.py").write_text(LOCAL)
    return tmp_path


def environment(server):
    names = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "test", "PYTHONUNBUFFERED": "1"}
    data = {"LANGCHAIN_MOA_EVAL_DATA": str(FIXTURES)} if FIXTURES else {}
    return {**os.environ, **names, **data}


def start(folder, server, *args):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([MOA, "eval", *args], cwd=folder, env=environment(server), **pipes)


def finish(process, code=0):
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, err
    return out, err


def moa_eval(folder, server, *args, code=0):
    return finish(start(folder, server, *args), code)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def judgment(body):
    """Judge as AlpacaEval, MT-Bench, FLASK and the pairwise prompt want it, whichever asks."""
    return Reply(text="Rating: [[7]] [[A]] {'completeness': 4, 'factuality': 3}", logprobs=LOGPROBS)


def answer(body):
    if body["model"] == "judge":
        return judgment(body)
    return f"{body['model']} says {len(body['messages'][-1]['content'])}"


# -- Killed and resumed -----------------------------------------------------------------------------------------------

PAIRWISE = ["run", "--bench", "sums.jsonl", "--grader", "pairwise", "--baseline", "one", "--judge", "openai:judge"]
SYSTEMS = [
    "--system",
    "one=openai:c",
    "--system",
    "moa=models:mixture",
    "--concurrency",
    "2",
    "--judge-concurrency",
    "2",
]


def is_second_systems_answer(body):
    return body["model"] == "b" and "3 + 3" in body["messages"][-1]["content"]


def is_judgment_of_it(body):
    return body["model"] == "judge" and "4 + 4" in str(body["messages"])


def request_of(body):
    return json.dumps([body["model"], body["messages"]])


def without_times(path):
    """Return a folder's files without what no two runs have in common."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items() if name not in ("seconds", "first_token_seconds")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    rows = {file.relative_to(path): plain(lines(file)) for file in path.rglob("*.jsonl")}
    return rows | {file.relative_to(path): file.read_text() for file in path.rglob("manifest.json")}


def settle(server):
    """Wait until the server has read all that a killed process sent: connections are accepted in their order."""
    urlopen(f"{server.url}/models").close()
    server.wait_for(lambda: server.connections == 0)


def test_killed_twice_and_started_again_it_makes_no_finished_call_twice_and_gives_the_same_files(folder):
    held, gate = None, threading.Event()

    def gated(body):
        reply = answer(body)
        text, logprobs = (reply, None) if isinstance(reply, str) else (reply.text, reply.logprobs)
        return Reply(text=text, logprobs=logprobs, gate=gate if held and held(body) else None)

    asked, finished = [], []
    with OpenAIServer(gated, models=["a", "b", "c", "judge"]) as server:

        def run(out):
            moa_eval(folder, server, *PAIRWISE, *SYSTEMS, "--out", out)
            asked.append(server.requests)
            server.reset()

        for held in (is_second_systems_answer, is_judgment_of_it):
            gate.clear()
            process = start(folder, server, *PAIRWISE, *SYSTEMS, "--out", "out")
            server.wait_for(lambda held=held: any(map(held, server.requests)), timeout=280)
            process.kill()
            process.communicate()
            settle(server)
            finished.append({file.name: len(lines(file)) for file in (folder / "out/sums/moa").glob("*.jsonl")})
            asked.append(server.requests)
            gate.set()
            server.reset()
        held = None
        run("out")
        run("uninterrupted")

    calls = [Counter(body["model"] for body in requests) for requests in asked]
    assert [count["c"] for count in calls] == [6, 0, 0, 6]
    assert calls[1]["b"] == 6 - finished[0]["outputs.jsonl"]
    assert calls[2]["judge"] == 12 - finished[1]["judgments-openai-judge.jsonl"]
    *interrupted, at_once = [[request_of(body) for body in requests] for requests in asked]
    distinct = {request for requests in interrupted for request in requests}
    # What is asked twice was in the air at a kill: of two answers, three calls each, then one call each of two judged.
    assert sum(map(len, interrupted)) - len(distinct) <= 2 * 3 + 2
    assert sorted(distinct) == sorted(at_once)
    assert len(at_once) == 6 + 18 + 12
    assert without_times(folder / "out") == without_times(folder / "uninterrupted")
    assert [row["question"] for row in lines(folder / "out/sums/moa/outputs.jsonl")] == [row["id"] for row in TASK]


def test_killed_it_asks_no_proposer_again_that_had_answered_a_question_that_is_not_finished(folder):
    gate, is_held = threading.Event(), True
    proposals = folder / "out/sums/moa/calls.jsonl"
    command = ["generate", "--bench", "sums.jsonl", "--system", "moa=models:mixture", "--concurrency", "1"]

    def reply(body):
        return Reply(text=answer(body), gate=gate if is_held and is_second_systems_answer(body) else None)

    with OpenAIServer(reply, models=["a", "b"]) as server:
        process = start(folder, server, *command, "--out", "out")
        server.wait_for(lambda: any(map(is_second_systems_answer, server.requests)), timeout=280)
        # Two questions are done, with three calls each; of the third one the first proposer has answered.
        while len(lines(proposals)) < 7:
            sleep(0.01)
        process.kill()
        process.communicate()
        settle(server)
        is_held = False
        gate.set()
        moa_eval(folder, server, *command, "--out", "out")
        asked = Counter(map(request_of, server.requests))
        server.reset()
        moa_eval(folder, server, *command, "--out", "uninterrupted")
        at_once = Counter(map(request_of, server.requests))
    twice = asked - at_once
    assert [json.loads(request)[0] for request in twice.elements()] == ["b"]
    assert not at_once - asked
    assert without_times(folder / "out") == without_times(folder / "uninterrupted")
    assert not proposals.exists()


def test_interrupted_it_says_that_the_same_command_goes_on(folder):
    gate = threading.Event()
    command = ["run", "--bench", "sums.jsonl", "--grader", "numeric", "--system", "one=openai:c", "--out", "out"]
    with OpenAIServer(lambda body: Reply(text="4", gate=gate)) as server:
        process = start(folder, server, *command)
        server.wait_for(lambda: server.requests, timeout=280)
        process.send_signal(signal.SIGINT)
        _, err = finish(process, code=130)
        assert err.endswith("moa: stopped; results so far are kept, and the same command continues from there.\n")
        gate.set()
        moa_eval(folder, server, *command)


def test_what_failed_is_counted_and_the_same_command_tries_it_again(folder):
    broken = ["2 + 2"]

    def reply(body):
        if broken and broken[0] in str(body["messages"]):
            return Reply(status=422, error="no sums")
        return "4"

    command = ["run", "--bench", "sums.jsonl", "--grader", "numeric", "--system", "one=openai:c", "--out", "out"]
    with OpenAIServer(reply) as server:
        _, err = moa_eval(folder, server, *command, code=1)
        assert "sums · one · answers: 6/6, 1 failed" in err
        assert err.endswith("moa: 1 answer failed; run the same command again to retry them.\n")
        assert json.loads((folder / "out/sums/report.json").read_text())["systems"][0]["failed"] == 1
        broken.clear()
        server.reset()
        moa_eval(folder, server, *command)
        assert len(server.requests) == 1
    assert json.loads((folder / "out/sums/report.json").read_text())["systems"][0]["failed"] == 0


# -- End to end -------------------------------------------------------------------------------------------------------


@needs_local_model
def test_a_real_mixture_its_model_alone_and_self_moa_stand_side_by_side_on_every_benchmark(folder):
    benches = ["mt_bench", *(["alpaca_eval", "flask"] if FIXTURES else [])]
    systems = [f"--system={name}=local_models:{name}" for name in ("mixture", "self_moa", "single")]
    prices = {"smollm2-135m-instruct": {"input": 1, "output": 2}, "judge": {"input": 3, "output": 6}}
    (folder / "prices.json").write_text(json.dumps(prices))
    common = [*systems, "--limit", "1", "--concurrency", "1", "--out", "out", "--prices", "prices.json"]
    with OpenAIServer(answer) as server:
        own, _ = moa_eval(folder, server, "run", "--bench", "sums.jsonl", "--grader", "numeric", *common)
        assert server.requests == []
        bench = [f"--bench={name}" for name in benches]
        published, _ = moa_eval(folder, server, "run", *bench, "--judge", "strict=openai:judge", *common)
        assert len(server.requests) == 3 * (2 + len(benches) - 1)
        assert server.requests[0]["model"] == "judge"
    assert "mixture against single" in own
    for name in benches:
        assert f"{name}\n" in published
        report = json.loads((folder / "out" / name / "report.json").read_text())
        assert [system["system"] for system in report["systems"]] == ["mixture", "self_moa", "single"]
        assert (
            [system["spending"]["calls"] for system in report["systems"]] == [6, 6, 2]
            if name == "mt_bench"
            else [3, 3, 1]
        )
        assert all(system["spending"]["usd_per_100"] > 0 for system in report["systems"])
        assert any("1 of the" in warning for warning in report["warnings"])
        assert "plotly" in (folder / "out" / name / "report.html").read_text().lower()
        row = lines(folder / "out" / name / "mixture" / "outputs.jsonl")[0]
        proposals = row["metadata"][0]["moa"]["layers"][0]
        assert [call["proposer"] for call in proposals] == ["brief", "plain"]
        assert all(call["text"] for call in proposals)


@needs_local_model
def test_a_search_over_the_local_models_samples_ends_in_a_line_up_that_can_be_asked(folder):
    rows = [{"id": f"q{n}", "input": f"What is {n} + {n}?", "reference": 2 * n} for n in range(1, 9)]
    (folder / "eight.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = ["--model", "small=local:smollm2-135m-instruct", "--samples", "3", "--most", "3", "--max-tokens", "16"]
    args = ["search", "--bench", "eight.jsonl", "--grader", "contains", "--budget", "200", *model]
    ways = ["--way", "vote", "--way", "synthesize", "--concurrency", "1"]
    with OpenAIServer(answer) as server:
        out, _ = moa_eval(folder, server, *args, *ways)
        assert moa_eval(folder, server, *args, *ways)[0] == out
    assert "Round 2: 3 line-ups" in out
    report = json.loads((folder / "moa-eval/search/eight/report.json").read_text())
    assert {row["system"] for row in report["systems"]} >= {"small"}
    command = [MOA, "ask", "--config", "moa-eval/search/eight/moa.toml", "--model", "found", "What is 2 + 2?"]
    asked = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
