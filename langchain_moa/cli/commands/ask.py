"""`moa ask`: one question, one answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli import mixture_options as options
from langchain_moa.cli.attachments import decode, read_attachment, to_message

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

_C1 = {
    code: f"\\u{code:04x}" for code in range(127, 160)
}  # json leaves these as they are, and a terminal may interpret them


@options.takes_a_mixture
def ask(
    mixture: options.MixtureOptions,
    question: Annotated[
        str | None, typer.Argument(help="The question. `-` reads stdin; piped input is appended to the question.")
    ] = None,
    attach: Annotated[
        list[Path] | None,
        typer.Option("--attach", "-a", exists=True, dir_okay=False, help="An image or a text file; repeatable."),
    ] = None,
    num_proc: options.NumProc = None,
    system: options.System = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    references: Annotated[bool, typer.Option("--references", help="Print the references before the answer.")] = False,
    stream: Annotated[bool, typer.Option(help="Print the answer while it is written, or when it is complete.")] = True,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the answer as it came, without showing its Markdown.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Ask one question and print the answer."""
    text = _read_question(question)
    attachments = [read_attachment(path) for path in attach or []]
    options.tell_if_local(mixture)
    from langchain_core.messages import SystemMessage

    from langchain_moa.cli.run_answer import run_answer
    from langchain_moa.cli.terminal.answer_view import PlainView, open_view, show_summary

    chat_model = mixture.build()
    messages = [*([SystemMessage(system)] if system else []), to_message(text, attachments)]
    view = PlainView(None, sys.stderr) if as_json else open_view(show_references=references, raw=raw)
    started = monotonic()
    with view, asyncio.Runner() as runner:
        answer = runner.run(run_answer(chat_model, messages, view, num_proc=num_proc, stream=stream))
    seconds = monotonic() - started
    if as_json:
        account = _account(chat_model.model, answer, seconds)
        print(json.dumps(account, ensure_ascii=False, indent=2).translate(_C1))
    else:
        show_summary(answer, seconds)


def _read_question(argument: str | None) -> str:
    """Return the question: the argument, the piped input, or both.

    Raises:
        typer.BadParameter: There is neither.
        ValueError: One of them is no text.
    """
    stdin = sys.stdin
    if stdin is None or (stdin.isatty() and argument != "-"):
        piped = ""
    else:
        piped = decode(stdin.buffer.read(), name="The input")
    asked = "" if argument == "-" else decode(os.fsencode(argument or ""), name="The question")
    question = "\n\n".join(part for part in (asked, piped.strip()) if part.strip())
    if not question:
        raise typer.BadParameter("ask something: moa ask 'What is a monad?'", param_hint="QUESTION")
    return question


def _account(model: str, answer: AIMessage, seconds: float) -> dict[str, Any]:
    from langchain_moa._messages.answers import total_usage

    moa = answer.response_metadata["moa"]
    return {
        "model": model,
        "answer": answer.text,
        "references": [
            {"layer": number, "text": None, **call} for number, layer in enumerate(moa["layers"], 1) for call in layer
        ],
        "aggregation": moa["aggregation"],
        "steps": moa.get("steps", []),
        "aggregator": moa["aggregator"],
        "usage": total_usage(moa),
        "seconds": round(seconds, 3),
        "degraded": moa["degraded"],
        **{name: moa[name] for name in ("selected", "verdicts", "vote", "analysis", "cost") if name in moa},
    }
