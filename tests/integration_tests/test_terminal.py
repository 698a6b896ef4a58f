"""`moa` in terminals of 40, 80 and 160 columns, and without one: the screen as a person sees it."""

import re
import subprocess

import pexpect
import pytest

from tests.integration_tests.test_cli import MIXTURE, MOA, PROMPT, environment  # noqa: F401  # a fixture
from tests.openai_server import OpenAIServer, Reply
from tests.terminal import Terminal, lines_on_screen

WIDTHS = pytest.mark.parametrize("width", [40, 80, 160])
ERROR = "The parameter top_q is not known, see https://docs.example.org/errors/parameters"
ANSWER = """# Title

A **paragraph** that is wider than the narrowest terminal, and has a [link](https://example.org/a/rather/long/path).

```python
print("a line of code that is too long for forty columns")
```

| name | what it means |
| --- | --- |
| first | a cell of the table that is wider than forty columns |
"""
REPLIES = {"x/a": "Proposal of x/a.", "x/b": Reply(status=422, error=ERROR), "x/c": ANSWER}
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m")


def run(arguments, width, environment):  # noqa: F811
    with Terminal(arguments, width=width, environment=environment) as terminal:
        terminal.expect(pexpect.EOF)
        return lines_on_screen(terminal.printed, width=width)


def joined(lines):
    return " ".join(" ".join(lines).split())


@pytest.fixture(scope="module")
def server():
    with OpenAIServer(REPLIES, models=["x/a", "x/b", "x/c"]) as server:
        yield server


@WIDTHS
def test_ask_shows_who_answered_and_what_failed_uncut(server, environment, width):  # noqa: F811
    lines = run(["ask", "Why?", *MIXTURE, "--references"], width, environment(server))
    assert re.fullmatch(r"✓ layer 1 a +\d+\.\d s 7 tokens", lines[0])
    assert lines[1].startswith("✗ layer 1 b ")
    text = joined(lines)
    # An address may be broken where it is wider than the screen.
    assert ERROR.partition(", see")[0] in text
    assert "".join(ERROR.split()) in "".join(text.replace("│", "").split())
    assert "…" not in text
    assert "Proposal of x/a." in text
    assert "a cell of the table that is wider than forty columns" in text
    assert re.search(r"3 calls · \d+ tokens in · \d+ out · (no price: x/a, x/c · )?\d+\.\d s$", text)
    assert any(line.startswith("╭") for line in lines) is (width >= 120)  # side by side


@WIDTHS
def test_a_chat_and_its_commands_fit_the_terminal(server, environment, width):  # noqa: F811
    printed = ""
    with Terminal(["chat", *MIXTURE], width=width, environment=environment(server)) as chat:
        for said in ["/help", "Why?", "/references", "/cost", "/system", "/model", "exit"]:
            chat.expect(PROMPT)
            printed += chat.printed
            chat.sendline(said)
        chat.expect(pexpect.EOF)
        assert chat.exit_code() == 0
    text = joined(lines_on_screen(printed + chat.printed, width=width))
    assert "moa: x/a, x/b → x/c" in text
    assert "/attach FILE send an image or a text file with the next question" in text
    assert "Proposal of x/a." in text
    assert "1 answer · 3 calls · " in text
    assert "no system message" in text


def test_a_long_paste_is_one_question_and_its_answer_fits_the_terminal_after_a_resize(server, environment):  # noqa: F811
    with Terminal(["chat", *MIXTURE], width=160, environment=environment(server)) as chat:
        chat.expect(PROMPT)
        chat.resize(40)
        chat.sendline("\x1b[200~" + "a long line that is pasted\n" * 300 + "\x1b[201~")
        chat.expect(r"✓.*3 calls.*? s\b")
        assert "A paragraph that is wider than the" in lines_on_screen(chat.printed, width=40)
        chat.expect(PROMPT)
        chat.send("/qu\t")
        chat.expect("/qu.*?it")  # completed
        chat.sendline("")
        chat.expect(pexpect.EOF)
        assert chat.exit_code() == 0
    assert server.requests[-1]["messages"][-1]["content"] == "\n".join(["a long line that is pasted"] * 300)


@WIDTHS
def test_help_names_every_option_uncut(server, environment, width):  # noqa: F811
    text = joined(run(["ask", "--help"], width, environment(server)))
    assert {"--fallback-aggregator", "--first-token-timeout", "--max-total-tokens"} <= set(
        text.replace("│", "").split()
    )
    assert "Ask one question and print the answer." in text


@WIDTHS
def test_line_ups_fit_the_terminal(server, environment, width):  # noqa: F811
    text = joined(run(["lineups"], width, environment(server)))
    assert "Qwen/Qwen3.7-Max x12 → Qwen/Qwen3.7-Max arXiv:2502.00674, section 5" in text
    described = joined(run(["lineups", "local"], width, environment(server)))
    assert "Source: SmolLM2-135M-Instruct by Hugging Face (Apache-2.0)" in described


@WIDTHS
def test_doctor_and_config_fit_the_terminal(server, environment, width):  # noqa: F811
    checked = joined(run(["doctor", *MIXTURE], width, environment(server)))
    assert "ok, 3 models listed" in checked
    assert "Try again later." in checked
    listed = joined(run(["config", *MIXTURE, "--quorum", "2"], width, environment(server)))
    assert "quorum" in listed
    assert "not there" in listed


def test_without_color_there_is_none_and_nothing_else_is_missing(server, environment):  # noqa: F811
    def printed(**more):
        with Terminal(["ask", "Why?", *MIXTURE], width=80, environment=environment(server) | more) as ask:
            ask.expect(pexpect.EOF)
            return ask.printed

    assert COLOR.search(printed())
    plain = printed(NO_COLOR="1")
    assert not COLOR.search(plain)
    assert "3 calls" in joined(lines_on_screen(plain, width=80))


@pytest.mark.parametrize("arguments", [["lineups"], ["lineups", "--json"], ["--help"], ["config", "--quorum", "2"]])
def test_a_reader_that_leaves_at_once_is_no_error(server, environment, arguments):  # noqa: F811
    with subprocess.Popen(
        [MOA, *arguments], env=environment(server), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as moa:
        moa.stdout.close()
        assert moa.stderr.read() == ""
