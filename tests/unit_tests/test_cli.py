import json
import subprocess
import sys

import pytest
from langchain_core.messages import HumanMessage
from typer.testing import CliRunner

from langchain_moa import ChatMoA
from langchain_moa._models.description import Description
from langchain_moa.cli import main
from langchain_moa.cli.app import app
from langchain_moa.cli.terminal.answer_summary import summarize
from langchain_moa.cli.terminal.markdown import split_finished
from langchain_moa.gates import unless_small_talk
from langchain_moa.lineups import LINEUPS
from langchain_moa.options import MoAOptions
from tests.fakes import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply
from tests.unit_tests.test_aggregation import ANALYSIS, choosing, tool_call

KEY = "tgp_v1_secret"
MIXTURE = ["--reference-models", "x/a,x/b", "--aggregator", "x/c"]
DEFAULT = LINEUPS["default"]
MODELS = dict.fromkeys([*DEFAULT.proposers, DEFAULT.aggregator, *DEFAULT.fallback_aggregators, DEFAULT.judge], "Hi.")


@pytest.fixture
def serve(monkeypatch):
    """Return a function that starts a server, to which `moa` talks."""
    servers = []

    def start(answer=None, **options):
        server = OpenAIServer(answer, **options).__enter__()
        servers.append(server)
        monkeypatch.setenv("TOGETHER_API_BASE", server.url)
        return server

    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    yield start
    for server in servers:
        server.__exit__()


def moa(*args, stdin=None):
    result = CliRunner().invoke(app, args, input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def errors_of(result):
    """Return the one line that a failure leaves on stderr."""
    (line,) = result.stderr.splitlines()
    return line


# -- ask --------------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_the_answer_alone_and_stderr_the_progress(serve):
    server = serve({"x/a": "A.", "x/b": "B.", "x/c": "The answer."})
    result = moa("ask", "Why?", *MIXTURE)
    assert (result.exit_code, result.stdout) == (0, "The answer.\n")
    *calls, aggregator, summary = result.stderr.splitlines()
    assert sorted(line.split(",")[0] for line in calls) == ["layer 1: a: ok", "layer 1: b: ok"]
    assert aggregator == "aggregator: x/c, 2 references"
    assert summary.startswith("3 calls · 33 tokens in · 21 out · ")
    assert [request["model"] for request in server.requests[2:]] == ["x/c"]


@pytest.fixture
def price_file(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({f"x/{name}": {"input": 1000, "output": 2000} for name in "ab"}))
    return path


def test_the_summary_tells_what_an_answer_cost_and_what_has_no_price(serve, price_file):
    serve()
    result = moa("ask", "Why?", *MIXTURE, "--prices", str(price_file))
    *_, summary = result.stderr.splitlines()
    assert summary.startswith("3 calls · 33 tokens in · 21 out · $0.05 · no price: x/c · ")


def test_json_has_the_cost_of_each_call_and_the_sum(serve, price_file):
    serve()
    told = json.loads(moa("ask", "Why?", *MIXTURE, "--json", "--prices", str(price_file)).stdout)
    assert [call["cost"] for call in told["references"]] == [0.025, 0.025]
    assert told["cost"] == {"total": 0.05, "unpriced": ["x/c"]}


def test_a_budget_is_kept_and_what_it_left_out_is_told(serve, price_file):
    server = serve()
    models = ["-p", "x/a", "--aggregator", "x/b", "--rounds", "3"]
    result = moa("ask", "Why?", *models, "--prices", str(price_file), "--max-cost", "0.05")
    assert len(server.requests) == 2
    assert result.stderr.splitlines()[-3:-1] == ["budget reached, layer 2", "budget reached, layer 3"]


def test_a_budget_without_a_price_is_refused_in_one_line(serve, price_file):
    serve()
    result = moa("ask", "Why?", *MIXTURE, "--prices", str(price_file), "--max-cost", "1")
    assert result.exit_code == 1
    assert "no price is known for 'x/c'" in errors_of(result)


def test_the_options_reach_every_call(serve):
    server = serve()
    sampling = ["--rounds", "2", "--temperature", "0.1", "--max-tokens", "9", "--timeout", "5", "--num-proc", "1"]
    result = moa("ask", "Why?", "-p", "x/a", "-p", "x/b", "--aggregator", "x/c", "--system", "Be brief.", *sampling)
    assert result.exit_code == 0
    assert [request["model"] for request in server.requests] == ["x/a", "x/b", "x/a", "x/b", "x/c"]
    assert {(request["temperature"], request["max_tokens"]) for request in server.requests} == {(0.1, 9)}
    assert server.peak == 1
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]


def test_what_is_not_given_is_the_line_ups_own(serve):
    server = serve()
    assert moa("ask", "Why?", "--model", "cookbook", "--proposer", "x/a").exit_code == 0
    assert [request["model"] for request in server.requests] == ["x/a", LINEUPS["cookbook"].aggregator]
    assert {request["max_tokens"] for request in server.requests} == {512}


@pytest.mark.parametrize(
    ("args", "stdin", "asked"),
    [
        (["Why?"], None, "Why?"),
        (["-"], "From a pipe.\n", "From a pipe."),
        ([], "From a pipe.\n", "From a pipe."),
        (["Explain this:"], "a\nb\n", "Explain this:\n\na\nb"),
    ],
)
def test_the_question_comes_from_the_argument_and_the_pipe(serve, args, stdin, asked):
    server = serve()
    assert moa("ask", *args, *MIXTURE, stdin=stdin).exit_code == 0
    assert server.requests[0]["messages"] == [{"role": "user", "content": asked}]


@pytest.mark.parametrize("args", [["ask"], ["ask", " "], ["ask", "-"], ["ask", "q", "--rounds", "0"], ["ask", "--no"]])
def test_a_usage_error_exits_with_2(serve, args):
    result = moa(*args)
    assert (result.exit_code, result.stdout) == (2, "")


def test_json_holds_the_answer_and_the_account(serve):
    serve({"x/a": "A\x9b.", "x/b": Reply(status=422, error="no"), "x/c": "Grüße\x1b[31m."})
    result = moa("ask", "Why?", *MIXTURE, "--json")
    account = json.loads(result.stdout)
    assert account["answer"] == "Grüße\x1b[31m."
    assert not {"\x1b", "\x9b"} & set(result.stdout)
    assert [(r["layer"], r["proposer"], r["model"], r["status"], r["text"]) for r in account["references"]] == [
        (1, "a", "x/a", "ok", "A\x9b."),
        (1, "b", "x/b", "failed", None),
    ]
    assert (account["model"], account["usage"]["total_tokens"]) == ("moa", 36)
    assert account["degraded"] == [{"reason": "proposer_failed", "layer": 1, "proposer": "b"}]
    assert account["seconds"] > 0


def test_references_come_before_the_answer(serve):
    serve({"x/a": "A.", "x/b": "B.", "x/c": "C."})
    result = moa("ask", "Why?", *MIXTURE, "--references")
    assert result.stdout == "## a (x/a), layer 1\n\nA.\n\n## b (x/b), layer 1\n\nB.\n\n## Answer\n\nC.\n"


def test_an_aggregator_that_does_not_stream_is_shown_once(serve, monkeypatch):
    from langchain_together import ChatTogether

    monkeypatch.setattr(ChatTogether, "_should_stream", lambda *args, **kwargs: False)
    serve({"x/a": "A.", "x/b": "B.", "x/c": "Once."})
    assert moa("ask", "Why?", *MIXTURE).stdout == "Once.\n"


def test_control_characters_of_a_model_do_not_get_through(serve):
    serve({"x/a": "A.", "x/b": "B.", "x/c": "a\x1b]0;title\x07b\x9bc\td\r\ne"})
    assert moa("ask", "Why?", *MIXTURE).stdout == "a]0;titlebc\td\ne\n"


# -- Ways of aggregating ----------------------------------------------------------------------------------------------


JUDGE = choosing("B.", "It is\x1b[31m right.")


def test_select_shows_the_proposals_the_winner_and_why(serve):
    serve(lambda body: {"x/a": "A.", "x/b": "B."}.get(body["model"]) or JUDGE(body))
    result = moa("ask", "Why?", *MIXTURE, "--aggregation", "select", "--references")
    assert result.stdout == "## a (x/a), layer 1\n\nA.\n\n## b (x/b), layer 1\n\nB.\n\n## Answer\n\nB.\n"
    *_, judge, selected, summary = result.stderr.splitlines()
    assert (judge, selected) == ("aggregator: x/c, 2 references", "selected: b, It is[31m right.")
    assert summary.startswith("3 calls · 33 tokens in · 21 out · ")


def test_vote_asks_no_aggregator_and_shows_the_votes(serve):
    server = serve({"x/a": "It is 42.", "x/b": "42"})
    result = moa("ask", "Why?", *MIXTURE, "--aggregation", "vote", "--references")
    assert result.stdout.endswith("## Answer\n\nIt is 42.\n")
    assert "## b (x/b), layer 1\n\n42\n" in result.stdout
    *calls, votes, summary = result.stderr.splitlines()
    assert sorted(line.split(",")[0] for line in calls) == ["layer 1: a: ok", "layer 1: b: ok"]
    assert votes == "votes: 42 (2), in the words of a"
    assert summary.startswith("2 calls · 22 tokens in · 14 out · ")
    assert len(server.requests) == 2


def test_a_mode_that_comes_to_nothing_is_named(serve):
    serve({"x/a": "It is 4.", "x/b": "It is 42.", "x/c": "Written."})
    result = moa("ask", "Why?", *MIXTURE, "--aggregation", "vote")
    assert result.stdout == "Written.\n"
    *_, votes, degraded, summary = result.stderr.splitlines()
    assert sorted(votes.removeprefix("votes: ").split(", ")) == ["4 (1)", "42 (1)"]
    assert degraded == "vote tied"
    assert summary.startswith("3 calls · ")


def test_json_holds_the_steps_and_what_they_led_to(serve):
    judge = tool_call(ANALYSIS)
    serve(lambda body: "A." if body["model"] != "x/c" else judge if body.get("tools") else "Written.")
    result = moa("ask", "Why?", *MIXTURE, "--aggregation", "analyze", "--json")
    account = json.loads(result.stdout)
    assert (account["answer"], account["aggregation"], account["analysis"]) == ("Written.", "analyze", ANALYSIS)
    assert [(step["step"], step["model"]) for step in account["steps"]] == [("analyze", "x/c")]
    assert account["usage"]["total_tokens"] == 4 * 18
    assert "selected" not in account


def test_proposers_that_were_not_asked_are_no_calls():
    models = {"proposers": [ScriptedChatModel(), ScriptedChatModel()], "aggregator": ScriptedChatModel()}
    skipped = ChatMoA(**models, fan_out=unless_small_talk).invoke("Hi!")
    assert summarize(skipped.response_metadata["moa"], 1) == ["1 call · 1.0 s"]
    once_per_turn = ChatMoA(**models, fan_out="user_turn")
    first = once_per_turn.invoke("Why?")
    second = once_per_turn.invoke([HumanMessage("Why?"), first])
    assert summarize(first.response_metadata["moa"], 1) == ["3 calls · 1.0 s"]
    assert summarize(second.response_metadata["moa"], 1) == ["1 call · 1.0 s"]


def test_a_chat_may_select_too(serve):
    serve(lambda body: {"x/a": "A.", "x/b": "B."}.get(body["model"]) or JUDGE(body))
    result = moa("chat", *MIXTURE, "--aggregation", "select", stdin="/model\nOne?\n")
    assert result.stdout == "moa: x/a, x/b → x/c, select\nB.\n"


# -- Errors -----------------------------------------------------------------------------------------------------------


def test_failed_proposers_are_one_line_without_the_key(serve):
    serve(lambda body: Reply(status=401, error=f"Invalid key {KEY}."))
    result = moa("ask", "Why?", *MIXTURE)
    *_, line = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert line.startswith("moa: Too few proposers of layer 1 answered. a, b: Invalid key ***. (HTTP 401)")
    assert KEY not in result.output


def test_the_aggregators_error_is_one_line(serve):
    serve({"x/a": "A.", "x/b": "B.", "x/c": Reply(status=422, error="not\nthis")})
    result = moa("ask", "Why?", *MIXTURE)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "moa: not this (HTTP 422)"


@pytest.mark.parametrize("args", [["--debug", "ask"], ["ask", "--debug"]])
def test_debug_shows_the_traceback(serve, args):
    serve({"x/a": "A.", "x/b": "B.", "x/c": Reply(status=400, error=KEY)})
    result = moa(*args, "Why?", *MIXTURE)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert KEY not in result.stderr


def test_a_wrong_configuration_is_one_plain_line(serve):
    result = moa("ask", "Why?", "--model", "foo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert errors_of(result).startswith("moa: Line-up 'foo' is unknown; choose from default, ")


def test_without_a_key_the_local_line_up_answers_and_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    monkeypatch.setenv("LANGCHAIN_MOA_GGUF", str(tmp_path / "none.gguf"))
    result = moa("ask", "Why?")
    notice, error = result.stderr.splitlines()
    assert result.exit_code == 1
    assert notice.startswith("TOGETHER_API_KEY is not set: using the line-up 'local'")
    assert "none.gguf" in error


def test_without_a_key_a_named_model_needs_one(monkeypatch):
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    assert "set TOGETHER_API_KEY" in errors_of(moa("ask", "Why?", *MIXTURE))


def test_a_missing_extra_names_what_to_install(monkeypatch):
    monkeypatch.setattr("langchain_moa.cli.find_spec", lambda package: None)
    with pytest.raises(SystemExit, match=r'pip install "langchain-moa\[cli\]"$'):
        main()


# -- chat -------------------------------------------------------------------------------------------------------------


def test_chat_reads_a_pipe_line_by_line(serve):
    server = serve({"x/a": "A.", "x/b": "B.", "x/c": "C."})
    result = moa("chat", *MIXTURE, "--system", "Be brief.", stdin="One?\n\nTwo?\nexit\nThree?\n")
    assert (result.exit_code, result.stdout) == (0, "C.\nC.\n")
    assert [m["content"] for m in server.requests[3]["messages"]] == ["Be brief.", "One?", "C.", "Two?"]
    assert len(server.requests) == 6


def test_without_multi_turn_each_question_stands_alone(serve):
    server = serve()
    assert moa("chat", *MIXTURE, "--no-multi-turn", stdin="One?\nTwo?\n").exit_code == 0
    assert [m["content"] for m in server.requests[3]["messages"]] == ["Two?"]


def test_a_failed_turn_is_dropped_and_the_chat_goes_on(serve):
    def answer(body):
        return Reply(status=422, error="no") if body["messages"][-1]["content"] == "Two?" else "fine"

    server = serve(answer)
    result = moa("chat", *MIXTURE, stdin="One?\nTwo?\nThree?\n")
    assert (result.exit_code, result.stdout) == (0, "fine\nfine\n")
    assert "moa: Too few proposers of layer 1 answered. a, b: no (HTTP 422)" in result.stderr
    assert [m["content"] for m in server.requests[-2]["messages"]] == ["One?", "fine", "Three?"]


def test_a_conversation_is_saved_and_loaded(serve, tmp_path):
    file = tmp_path / "talk.json"
    server = serve({"x/a": "A.", "x/b": "B.", "x/c": "C."})
    assert moa("chat", *MIXTURE, stdin=f"One?\n/save {file}\n").exit_code == 0
    server.reset()
    result = moa("chat", *MIXTURE, stdin=f"/load {file}\n/references\nTwo?\n/clear\nThree?\n")
    assert [m["content"] for m in server.requests[0]["messages"]] == ["One?", "C.", "Two?"]
    assert [m["content"] for m in server.requests[3]["messages"]] == ["Three?"]
    assert result.stdout.startswith(f"loaded 2 messages from {file}\n## a (x/a), layer 1\n\nA.\n\n")


def test_a_command_that_goes_wrong_is_one_line(serve, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"messages": 1}')
    lines = ["/load", "/load /nowhere/x", f"/load {broken}", "/save", "/model foo", "/references", "/what", "/quit"]
    result = moa("chat", *MIXTURE, stdin="\n".join(lines))
    assert result.exit_code == 0
    assert [line.partition(";")[0] for line in result.stderr.splitlines()] == [
        "moa: /load needs a file's name.",
        "moa: '/nowhere/x': No such file or directory",
        f"moa: {str(broken)!r} is not a conversation that /save wrote.",
        "moa: /save needs a file's name.",
        "moa: Line-up 'foo' is unknown",
        "moa: no answer yet, so no references.",
        "moa: Unknown command /what",
    ]


def test_model_shows_and_switches_the_line_up(serve):
    server = serve()
    result = moa("chat", *MIXTURE, stdin="/model\n/model bot\nOne?\n/help\n")
    assert result.stdout.startswith("moa: x/a, x/b → x/c\nbot: Qwen/Qwen2-72B-Instruct, ")
    assert [request["model"] for request in server.requests][-1] == LINEUPS["bot"].aggregator
    assert "/references  show the references behind the last answer" in result.stdout


# -- lineups, doctor, download ----------------------------------------------------------------------------------------


def test_lineups_are_plain_and_complete_when_piped():
    result = moa("lineups")
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header == ["name", "proposers", "aggregator", "judge", "rounds", "source", "date", "description"]
    assert [row[0] for row in rows] == list(LINEUPS)
    assert rows[0][1:4] == [", ".join(DEFAULT.proposers), DEFAULT.aggregator, DEFAULT.judge]


def test_a_line_up_is_described_without_a_key():
    result = moa("lineups", "self-moa")
    first, *rows = result.stdout.splitlines()
    assert (result.exit_code, first) == (0, "self-moa")
    assert f"  Layer 1:          {LINEUPS['self-moa'].aggregator} x6" in rows
    assert f"  Calls per answer: {LINEUPS['self-moa'].calls}" in rows


def test_a_described_line_up_names_its_judge():
    result = moa("lineups", "default")
    assert f"With --aggregation select or analyze, {DEFAULT.judge} judges." in result.stdout.splitlines()
    assert f"  Fallbacks:        {DEFAULT.fallback_aggregators[0]}" in result.stdout.splitlines()


@pytest.mark.parametrize("name", LINEUPS)
def test_a_line_up_is_described_as_its_model_describes_itself(name):
    description = Description.of(MoAOptions(model=name))
    assert moa("lineups", name).stdout.startswith(f"{description}\n")


@pytest.mark.parametrize("arguments", [[], ["default"], ["default", "--json"]])
def test_line_ups_are_shown_without_loading_langchain(arguments):
    code = (
        "import sys\n"
        "from langchain_moa.cli.app import app\n"
        f"app({['lineups', *arguments]}, standalone_mode=False)\n"
        "print(*{'langchain_core', 'langgraph', 'openai'} & set(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "default" in ran.stdout
    assert ran.stderr.strip() == ""


def test_an_unknown_line_up_can_not_be_described():
    assert errors_of(moa("lineups", "nope")).startswith("moa: Line-up 'nope' is unknown; choose from default, ")


@pytest.mark.parametrize("bare", [True, False])
def test_doctor_finds_all_well(serve, bare):
    server = serve(MODELS, api_key=KEY, bare_models=bare)
    result = moa("doctor")
    assert result.exit_code == 0
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == ["check", "TOGETHER_API_KEY", *MODELS]
    assert {request["max_tokens"] for request in server.requests} == {1}


def test_doctor_names_what_is_wrong_and_what_to_do(serve):
    first, second, third, *_ = MODELS
    answers = {**MODELS, second: Reply(status=404, error="gone")}
    serve(answers, models=[first, second])
    result = moa("doctor", "default")
    rows = {name: (found, remedy) for name, found, remedy in map(lambda x: x.split("\t"), result.stdout.splitlines())}
    assert result.exit_code == 1
    assert rows[first][0].startswith("ok, ")
    assert rows[second][0] == "gone (HTTP 404)"
    assert rows[third][0] == "answers, but is not in the provider's list"
    assert rows[third][1].startswith("Name a model that is served")


def test_doctor_asks_where_the_mixture_asks(serve, monkeypatch):
    server = serve(dict.fromkeys(["x/a", "x/b", "x/c"], "Hi."))
    monkeypatch.setenv("TOGETHER_API_BASE", "http://127.0.0.1:1/v1")
    assert moa("doctor", *MIXTURE, "--base-url", server.url).exit_code == 0
    assert len(server.requests) == 3


def test_doctor_takes_a_server_that_lists_no_models(serve):
    serve()
    result = moa("doctor", *MIXTURE)
    assert result.exit_code == 0
    assert "TOGETHER_API_KEY\tok, and the server lists no models\t" in result.stdout


def test_doctor_sees_a_key_that_is_not_accepted(serve):
    server = serve(MODELS, api_key="another")
    result = moa("doctor", "default")
    assert result.exit_code == 1
    assert "TOGETHER_API_KEY\tnot accepted\tCreate a key at " in result.stdout
    assert KEY not in result.output
    assert server.requests == []


def test_doctor_sees_that_there_is_no_key(monkeypatch):
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    result = moa("doctor", "default")
    assert result.exit_code == 1
    assert "TOGETHER_API_KEY\tnot set\t" in result.stdout


def test_doctor_sees_missing_weights(monkeypatch, tmp_path):
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    monkeypatch.setenv("LANGCHAIN_MOA_GGUF", str(tmp_path / "none.gguf"))
    result = moa("doctor")
    assert result.exit_code == 1
    assert "none.gguf" in result.stdout


def test_doctor_names_all_that_the_local_model_lacks(monkeypatch, tmp_path):
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    monkeypatch.setenv("LANGCHAIN_MOA_GGUF", str(tmp_path / "none.gguf"))
    monkeypatch.setattr("langchain_moa.cli.commands.doctor.find_spec", lambda package: None)
    result = moa("doctor")
    assert result.exit_code == 1
    assert "xllamacpp is not installed; " in result.stdout
    assert "none.gguf" in result.stdout
    assert 'pip install "langchain-moa[local]"; `moa download`' in result.stdout


def test_download_prints_where_the_weights_are(monkeypatch, tmp_path):
    monkeypatch.setattr("langchain_moa.local.download_weights", lambda: tmp_path / "model.gguf")
    assert moa("download").stdout == f"{tmp_path / 'model.gguf'}\n"


# -- Streaming Markdown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("One", ""),
        ("One\n\n", ""),
        ("One\n\nTwo\n", "One\n\n"),
        ("1. a\n\n2", ""),  # may become "2. b", the list's next item
        ("Title\n---\n\nText\n", "Title\n---\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n```\nText\n", "```\na\n```\n"),
    ],
)
def test_only_blocks_that_cannot_change_are_finished(text, finished):
    assert split_finished(text) == (finished, text[len(finished) :])
