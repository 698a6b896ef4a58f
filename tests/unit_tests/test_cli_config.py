"""Options on the command line, in the environment and in the configuration file."""

import json

import pytest

from langchain_moa.cli.declared_options import declared_options
from langchain_moa.options import MoAOptions
from tests.unit_tests.test_cli import MIXTURE, errors_of, moa, serve  # noqa: F401  # a fixture

FILE = """
[defaults]
deadline = 60

[mixtures.panel]
proposers = ["x/a", { model = "x/b", samples = 2, temperature = 1.0 }]
aggregator = "x/c"
quorum = 2
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Have a home of its own, without a configuration file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "langchain-moa"


@pytest.fixture
def file(home):
    home.mkdir(parents=True)
    path = home / "moa.toml"
    path.write_text(FILE)
    return path


def test_the_command_line_knows_every_option_as_it_is_declared():
    assert list(declared_options()) == list(MoAOptions.model_fields)
    on_the_command_line = [option.name for option in declared_options().values() if option.type is not None]
    assert {"quorum", "deadline", "fallback_aggregators", "shuffle", "prompt"} <= set(on_the_command_line)


@pytest.mark.parametrize("command", ["ask", "chat", "serve", "doctor", "config"])
def test_every_command_with_a_mixture_takes_its_options(command):
    shown = moa(command, "--help").stdout
    assert all(option in shown for option in ("--quorum", "--grace", "--deadline", "--window", "--config"))


def test_a_proposer_may_have_settings_of_its_own(serve):  # noqa: F811
    server = serve()
    settings = "x/a,samples=2,temperature=0.1,instructions=Doubt, always, the obvious."
    assert moa("ask", "Why?", "-p", settings, "-p", "x/b", "--aggregator", "x/c").exit_code == 0
    *proposals, _ = server.requests
    assert sorted((body["model"], body["temperature"]) for body in proposals) == [
        ("x/a", 0.1),
        ("x/a", 0.1),
        ("x/b", 0.7),
    ]
    assert proposals[0]["messages"][0]["content"] == "Doubt, always, the obvious."


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["-p", "x/a,tempo=1"], "moa: proposers.0.tempo: there is no such setting; choose from model, temperature, "),
        (["-p", "x/a,samples=0"], "moa: proposers.0.samples: Input should be greater than or equal to 1"),
        (["--aggregator", "x/a,samples=2"], "moa: aggregator.samples: there is no such setting; "),
    ],
)
def test_a_mistake_in_a_models_settings_is_named(serve, option, message):  # noqa: F811
    serve()
    assert errors_of(moa("ask", "Why?", *MIXTURE, *option)).startswith(message)


def test_a_quorum_that_is_no_number_says_so():
    assert "'two' is no number" in moa("ask", "Why?", "--quorum", "two").stderr


@pytest.mark.parametrize(("quorum", "needed"), [("2", 2), ("0.5", 2)])
def test_a_quorum_is_a_count_or_a_fraction(quorum, needed):
    shown = moa("config", *MIXTURE, "--quorum", quorum).stdout
    assert f"quorum\t{quorum}\tcommand line" in shown


def test_the_spellings_of_the_originals_bot_are_taken(serve):  # noqa: F811
    server = serve()
    arguments = ["--reference_models", "x/a", "--reference_models", "x/b", "--aggregator", "x/c", "--max_tokens", "9"]
    assert moa("chat", *arguments, "--num_proc", "2", "--no-multi_turn", stdin="Why?\n").exit_code == 0
    assert [body["max_tokens"] for body in server.requests] == [9, 9, 9]


@pytest.mark.parametrize("model", ["Qwen/Qwen2-72B-Instruct", "openai:gpt-5"])
def test_a_model_in_the_place_of_a_line_up_is_answered_with_what_was_meant(model):
    result = moa("ask", "Why?", "--model", model)
    assert result.exit_code == 2
    assert f"--aggregator {model}" in " ".join(result.stderr.replace("│", "").split())


def test_togethers_own_endpoint_is_answered_with_its_counterpart():
    result = moa("ask", "Why?", "--model", "togethercomputer/MoA-1")
    assert "--model default" in " ".join(result.stderr.replace("│", "").split())


def test_a_mixture_of_the_configuration_file_is_asked_by_its_name(serve, file):  # noqa: F811
    server = serve()
    assert moa("ask", "Why?", "--model", "panel").exit_code == 0
    assert sorted(body["model"] for body in server.requests[:3]) == ["x/a", "x/b", "x/b"]
    assert server.requests[-1]["model"] == "x/c"


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(file, monkeypatch):
    def sources(*arguments):
        rows = (line.split("\t") for line in moa("config", "--model", "panel", *arguments).stdout.splitlines())
        return {name: (value, source) for name, value, source in rows}

    line = FILE.splitlines().index("quorum = 2") + 1
    assert sources()["quorum"] == ("2", f"'{file}', line {line}")
    monkeypatch.setenv("MOA_QUORUM", "3")
    assert sources()["quorum"] == ("3", "MOA_QUORUM")
    assert sources("--quorum", "1")["quorum"] == ("1", "command line")
    assert sources()["deadline"] == ("60", f"'{file}', line 3")


def test_the_file_may_be_named(tmp_path, monkeypatch, serve):  # noqa: F811
    path = tmp_path / "other.toml"
    path.write_text(FILE)
    server = serve()
    assert moa("ask", "Why?", "--config", str(path), "--model", "panel").exit_code == 0
    monkeypatch.setenv("MOA_CONFIG", str(path))
    assert moa("ask", "Why?", "--model", "panel").exit_code == 0
    assert len(server.requests) == 8


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[mixtures.a]\nquroum = 2\n", 2, "there is no option 'quroum'. Did you mean 'quorum'?"),
        ("\n[default]\nquorum = 2\n", 2, "there is no table 'default'. Did you mean 'defaults'?"),
        ("[mixtures.a]\nproposers = ['x/a']\naggregator = 'x/b'\nquorum = 'two'\n", 4, "quorum"),
        ("[mixtures.a]\nproposers = ['x/a', {model = 'x/b', tempo = 1}]\naggregator = 'x/b'\n", 2, "tempo"),
        ("[mixtures.a]\nproposers = ['x/a']\naggregator = 'x/b'\nquorum = 3\n", 1, "quorum is 3"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path, monkeypatch, text, line, message):
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    path = tmp_path / "moa.toml"
    path.write_text(text)
    error = errors_of(moa("ask", "Why?", "--config", str(path), "--model", "a"))
    assert f"'{path}', line {line}: " in error
    assert message in error


def test_a_file_that_is_no_toml_says_where(tmp_path):
    path = tmp_path / "moa.toml"
    path.write_text("[mixtures.a\n")
    assert "line 1" in errors_of(moa("config", "--config", str(path)))


def test_the_files_mixtures_are_listed_and_described(file):
    assert "panel" in [line.split("\t")[0] for line in moa("lineups").stdout.splitlines()]
    assert "x/b x2" in moa("lineups", "panel").stdout
    assert json.loads(moa("lineups", "panel", "--json").stdout)["panel"]["quorum"] == 2


def test_the_files_defaults_count_for_the_mixtures_that_are_described(file):
    file.write_text(FILE.replace("deadline = 60", 'aggregation = "select"'))
    assert "select" in moa("lineups", "panel").stdout
    assert json.loads(moa("lineups", "panel", "--json").stdout)["panel"]["aggregation"] == "select"


def test_the_files_mixtures_can_be_evaluated(file, tmp_path, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    (tmp_path / "task.jsonl").write_text(json.dumps({"id": 1, "input": "6 x 7?", "reference": "42"}) + "\n")
    arguments = ["--bench", str(tmp_path / "task.jsonl"), "--grader", "exact", "--out", str(tmp_path), "--dry-run"]
    result = moa("eval", "run", "--system", "mine=panel", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "mine" in result.stdout
    assert "4" in result.stdout  # calls of one answer


def test_the_files_mixtures_are_checked_by_doctor(serve, file):  # noqa: F811
    serve({"x/a": "Hi.", "x/b": "Hi.", "x/c": "Hi."})
    result = moa("doctor", "panel")
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()][2:] == ["x/a", "x/b", "x/c"]


def test_doctor_names_all_missing_parts_at_once(monkeypatch):
    for provider in ("OPENAI", "ANTHROPIC", "TOGETHER"):
        monkeypatch.delenv(f"{provider}_API_KEY", raising=False)
    result = moa("doctor", "-p", "openai:gpt-5", "-p", "anthropic:claude-opus-4-8", "-p", "x/a", "--aggregator", "x/a")
    assert result.exit_code == 1
    assert all(f"{provider}_API_KEY" in result.stdout for provider in ("OPENAI", "ANTHROPIC", "TOGETHER"))


def test_the_version_is_shown():
    from importlib.metadata import version

    assert moa("--version").stdout == f"moa {version('langchain-moa')}\n"
