import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pexpect
import pytest

from tests.openai_server import OpenAIServer, Reply

MOA = str(Path(sys.executable).with_name("moa"))
PROMPT = r"\x1b\[\?2004h.*?>"  # the prompt begins by asking the terminal to mark what is pasted
MIXTURE = ["--reference-models", "x/a,x/b", "--aggregator", "x/c"]


@pytest.fixture
def environment(tmp_path):
    """Return a function from a server to the environment of a `moa` that talks to it."""
    # COLUMNS counts for more than the size of the terminal. The processes of pytest-xdist have it, from readline.
    of_another_terminal = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    base = {name: value for name, value in os.environ.items() if name not in of_another_terminal}
    return lambda server: (
        base
        | {
            "TOGETHER_API_BASE": server.url,
            "TOGETHER_API_KEY": "test",
            "XDG_STATE_HOME": str(tmp_path),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
    )


def spawn(args, environment):
    child = pexpect.spawn(MOA, args, env=environment, encoding="utf-8", timeout=60, dimensions=(30, 100))
    child.str_last_chars = 5000  # so that a failure shows the whole screen
    return child


def test_a_chat_in_a_terminal(environment, tmp_path):
    gate = threading.Event()

    def answer(body):
        if body["model"] != "x/c":
            return f"proposal of {body['model']}"
        if "Stop me" in body["messages"][-1]["content"]:
            return Reply(text="started and never finished", gate=gate)
        return f"answer {len(body['messages'])}"

    with OpenAIServer(answer) as server:
        chat = spawn(["chat", *MIXTURE], environment(server))
        chat.expect(PROMPT)
        chat.sendline("My name is Ada")
        chat.expect("answer 2")
        chat.expect("3 calls")
        chat.expect(PROMPT)
        chat.send("What is\x1b\rmy name?\r")  # Alt-Enter begins a line
        chat.expect("answer 3")  # from the second turn on the references are at the end, in no message of their own
        chat.expect("3 calls")
        chat.expect(PROMPT)
        chat.sendline("Stop me")
        chat.expect("started")
        chat.sendintr()
        chat.expect("stopped")
        server.wait_for(lambda: server.closed_by_client == ["x/c"])
        chat.expect(PROMPT)
        chat.sendline("/references")
        chat.expect("proposal of x/a")
        chat.expect("proposal of x/b")
        chat.expect(PROMPT)
        chat.sendline("And now?")
        chat.expect("answer 5")
        chat.expect(PROMPT)
        chat.sendintr()
        chat.expect(PROMPT)
        chat.sendline("exit")
        chat.expect(pexpect.EOF)
        chat.close()
        asked = [[m["content"] for m in r["messages"]] for r in server.requests if r["model"] == "x/a"]
    assert chat.exitstatus == 0
    assert asked[1] == ["My name is Ada", "answer 2", "What is\nmy name?"]
    assert asked[3] == [*asked[1], "answer 3", "And now?"]  # the stopped turn is forgotten
    history = tmp_path / "langchain-moa" / "history"
    assert "+My name is Ada" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_ask_in_a_terminal_shows_the_proposers_and_then_the_answer(environment):
    text = "# Title\n\n" + "\n\n".join(f"Paragraph {n} is **here**." for n in range(40)) + "\n\n1. \x1b[31mone\n"
    replies = {"x/a": "A.", "x/b": Reply(status=422, error="no such thing"), "x/c": text}
    with OpenAIServer(replies) as server:
        ask = spawn(["ask", "Why?", *MIXTURE], environment(server))
        ask.expect("✓.*?layer 1.*? a .*?✗.*?layer 1.*? b .*?no such thing")
        for number in range(40):
            ask.expect(f"Paragraph {number} is ")
        ask.expect("one")
        ask.expect(r"3 calls · \d+ tokens in · \d+ out")
        ask.expect(pexpect.EOF)
        ask.close()
    assert ask.exitstatus == 0
    assert "\x1b[31mone" not in ask.before


def test_ctrl_c_ends_ask(environment):
    with OpenAIServer({"x/a": "A.", "x/b": "B.", "x/c": Reply(text="begun but", gate=threading.Event())}) as server:
        ask = spawn(["ask", "Why?", *MIXTURE], environment(server))
        ask.expect("begun")
        ask.sendintr()
        ask.expect(pexpect.EOF)
        ask.close()
        server.wait_for(lambda: server.closed_by_client == ["x/c"])
    assert ask.exitstatus == 128 + signal.SIGINT
    assert "Traceback" not in ask.before


def test_a_reader_that_leaves_early_is_no_error(environment):
    gate = threading.Event()
    with OpenAIServer({"x/a": "A.", "x/c": Reply(text="first second third", gate=gate)}) as server:
        command = [MOA, "ask", "Why?", "--proposer", "x/a", "--aggregator", "x/c"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment(server), text=True, **pipes) as ask:
            assert ask.stdout.read(5) == "first"
            ask.stdout.close()
            gate.set()
            progress = ask.stderr.read().splitlines()
    assert [line.partition(":")[0] for line in progress] == ["layer 1", "aggregator"]
