"""What goes with a question in the terminal, and the commands of a chat."""

import base64
import json
import sys

import pytest

from tests.unit_tests.test_cli import MIXTURE, errors_of, moa, serve  # noqa: F401  # a fixture

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_an_image_and_a_text_file_go_with_the_question(serve, tmp_path):  # noqa: F811
    (tmp_path / "a.png").write_bytes(PIXEL)
    (tmp_path / "notes.md").write_text("Grüße")
    server = serve()
    attached = ["-a", str(tmp_path / "a.png"), "--attach", str(tmp_path / "notes.md")]
    assert moa("ask", "Why?", *attached, *MIXTURE).exit_code == 0
    question = server.requests[-1]["messages"][-1]["content"]
    assert [block["type"] for block in question] == ["text", "image_url", "text"]
    assert question[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert question[2]["text"] == "notes.md:\n\nGrüße"


def test_a_file_that_is_neither_is_refused_before_anything_is_paid(serve, tmp_path):  # noqa: F811
    path = tmp_path / "a.png"  # by its name alone
    path.write_bytes(b"\x00\xff")
    server = serve()
    assert "is no text in UTF-8" in errors_of(moa("ask", "Why?", "-a", str(path), *MIXTURE))
    assert moa("ask", "Why?", "-a", str(tmp_path / "none"), *MIXTURE).exit_code == 2
    assert server.requests == []


@pytest.mark.parametrize("given", [b"\xff\xfe", b"a\x00b"])
def test_binary_input_is_refused_before_anything_is_paid(serve, given):  # noqa: F811
    server = serve()
    assert "The input is no text in UTF-8" in errors_of(moa("ask", "Why?", *MIXTURE, stdin=given))
    assert server.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are bytes on POSIX only")
def test_an_argument_that_is_no_text_is_refused(serve):  # noqa: F811
    serve()
    assert "The question is no text in UTF-8" in errors_of(moa("ask", "a\udcff", *MIXTURE))


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are bytes on POSIX only")
@pytest.mark.parametrize("option", [["--system", "a\udcff"], ["-p", "x/a,instructions=a\udcff"]])
def test_an_option_that_is_no_text_is_refused_before_anything_is_paid(serve, option):  # noqa: F811
    server = serve()
    assert "is no text in UTF-8" in errors_of(moa("ask", "Why?", *MIXTURE, *option))
    assert server.requests == []


def test_without_streaming_the_answer_comes_as_a_whole(serve):  # noqa: F811
    serve({"x/a": "A.", "x/b": "B.", "x/c": "The whole answer."})
    assert moa("ask", "Why?", *MIXTURE, "--no-stream", "--raw").stdout == "The whole answer.\n"


def test_one_reference_is_one(serve):  # noqa: F811
    serve()
    result = moa("ask", "Why?", "-p", "x/a", "--aggregator", "x/c")
    assert "aggregator: x/c, 1 reference" in result.stderr.splitlines()


def test_the_last_question_is_asked_again(serve):  # noqa: F811
    server = serve()
    assert moa("chat", *MIXTURE, stdin="One?\nTwo?\n/regenerate\n").exit_code == 0
    asked = [[m["content"] for m in body["messages"] if m["role"] == "user"] for body in server.requests]
    assert asked[-2] == asked[-5] == ["One?", "Two?"]


def test_a_file_goes_with_the_next_question_alone(serve, tmp_path):  # noqa: F811
    (tmp_path / "notes.txt").write_text("Remember.")
    server = serve()
    moa("chat", *MIXTURE, "--no-multi-turn", stdin=f"/attach {tmp_path / 'notes.txt'}\nOne?\nTwo?\n")
    first, second = server.requests[0]["messages"][-1], server.requests[3]["messages"][-1]
    assert first["content"][1]["text"] == "notes.txt:\n\nRemember."
    assert second["content"] == "Two?"


def test_the_system_message_is_shown_and_set(serve):  # noqa: F811
    server = serve()
    result = moa("chat", *MIXTURE, stdin="/system\n/system Be brief.\nOne?\n/system Be long.\nTwo?\n")
    assert result.stdout.splitlines()[:2] == ["no system message", "Be brief."]
    assert [body["messages"][0]["content"] for body in (server.requests[0], server.requests[3])] == [
        "Be brief.",
        "Be long.",
    ]


def test_the_cost_of_a_conversation_is_summed(serve, tmp_path):  # noqa: F811
    serve()
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({name: {"input": 1, "output": 2} for name in ("x/a", "x/b", "x/c")}))
    result = moa("chat", *MIXTURE, "--prices", str(prices), stdin="One?\nTwo?\n/cost\n")
    # Six calls of eleven tokens in and seven out.
    assert result.stdout.splitlines()[-1] == "2 answers · 6 calls · 66 tokens in · 42 out · $0.00015"


def test_an_answer_that_was_replaced_has_been_paid_for(serve):  # noqa: F811
    serve()
    result = moa("chat", *MIXTURE, stdin="One?\n/regenerate\n/cost\n/clear\n/cost\n")
    assert [line.partition(" · ")[0] for line in result.stdout.splitlines()[-3:]] == [
        "2 answers",
        "forgotten",
        "0 answers",
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [("/regenerate", "nothing to ask again"), ("/attach", "needs a file's name"), ("/attach /nowhere", "No such file")],
)
def test_a_command_without_what_it_needs_says_so(serve, command, message):  # noqa: F811
    serve()
    assert message in moa("chat", *MIXTURE, stdin=f"{command}\n").stderr
