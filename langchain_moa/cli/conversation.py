"""The chat loop: the conversation so far, and the slash commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    messages_from_dict,
    messages_to_dict,
)
from rich.console import Console
from rich.text import Text

from langchain_moa._models.description import Description
from langchain_moa.cli.attachments import read_attachment, to_message
from langchain_moa.cli.error_messages import explain, is_expected
from langchain_moa.cli.mixture_options import MixtureOptions
from langchain_moa.cli.run_answer import run_answer
from langchain_moa.cli.terminal.answer_summary import summarize_all
from langchain_moa.cli.terminal.answer_view import open_view, print_references, show_summary
from langchain_moa.cli.terminal.prompt import Prompt
from langchain_moa.cli.terminal.text import clean, one_line
from langchain_moa.lineups import LINEUPS

# Source: togethercomputer/MoA, bot.py::main.
_FIRST_QUESTION = "Top things to do in NYC"


class Conversation:
    """A conversation with a mixture."""

    def __init__(
        self,
        mixture: MixtureOptions,
        runner: asyncio.Runner,
        *,
        system: str | None,
        num_proc: int | None,
        multi_turn: bool,
        debug: bool,
    ) -> None:
        """Build the model and start an empty conversation.

        Args:
            mixture: The mixture options.
            runner: Event loop for all turns, so that connections are reused.
            system: System message.
            num_proc: Maximum number of concurrent calls.
            multi_turn: Whether to send the conversation so far with each question.
            debug: Whether to print tracebacks of errors.

        Raises:
            ValueError: The mixture options are invalid.
        """
        self._mixture = mixture
        self._model = mixture.build()
        self._runner = runner
        self._opening: list[BaseMessage] = [SystemMessage(system)] if system else []
        self._messages = list(self._opening)
        self._num_proc = num_proc
        self._multi_turn = multi_turn
        self._debug = debug
        self._last: AIMessage | None = None
        # Of answers that were replaced too: they have been paid for.
        self._accounts: list[dict[str, Any]] = []
        self._attachments: list[dict[str, Any]] = []
        self._console = Console(highlight=False)
        self.commands: dict[str, tuple[Callable[[str], None], str]] = {
            "/help": (self._help, "list the commands"),
            "/model": (self._switch, "[LINE-UP] show the current line-up, or switch to another"),
            "/references": (self._references, "show the references behind the last answer"),
            "/save": (self._save, "FILE save the conversation as JSON"),
            "/load": (self._load, "FILE load a saved conversation"),
            "/regenerate": (self._regenerate, "ask the last question again"),
            "/attach": (self._attach, "FILE send an image or a text file with the next question"),
            "/system": (self._set_system, "[TEXT] show the system message, or set another"),
            "/cost": (self._cost, "show what the conversation has taken"),
            "/clear": (self._clear, "clear the conversation"),
            "/quit": (self._leave, "quit; so do exit, quit and end of input"),
        }

    def completions(self) -> list[str]:
        """Return what the prompt completes: commands, and the line-ups and mixtures to switch to."""
        names = [*LINEUPS, *self._mixture.config.mixtures]
        return [*self.commands, *(f"/model {name}" for name in names)]

    def talk(self, prompt: Prompt) -> None:
        """Answer until the user leaves."""
        if self._console.is_terminal:
            self._say(
                f"{self._describe()}\n/help lists the commands, Alt-Enter starts a new line, Ctrl-C stops an answer."
            )
        with contextlib.suppress(EOFError):
            while True:
                self._turn(prompt)

    def _turn(self, prompt: Prompt) -> None:
        """Handle one input; after an error the chat continues."""
        try:
            said = prompt("" if self._messages else _FIRST_QUESTION).strip()
        except KeyboardInterrupt:
            return
        try:
            if said in ("exit", "quit"):
                self._leave()
            elif said.startswith("/"):
                self._obey(said)
            elif said:
                self._answer(said)
        except KeyboardInterrupt:
            self._complain("stopped")
        except Exception as error:
            if not is_expected(error):
                raise
            if self._debug:
                print(clean("".join(traceback.format_exception(error))), file=sys.stderr)
            self._complain(f"moa: {explain(error)}")

    def _answer(self, question: str) -> None:
        self._ask(to_message(question, self._attachments))
        self._attachments = []

    def _ask(self, question: HumanMessage) -> None:
        before = self._messages if self._multi_turn else self._opening
        messages = [*before, question]
        started = monotonic()
        with open_view() as view:
            answer = self._runner.run(run_answer(self._model, messages, view, num_proc=self._num_proc))
        self._messages += [messages[-1], answer]
        self._last = answer
        self._accounts.append(answer.response_metadata["moa"])
        show_summary(answer, monotonic() - started)

    def _obey(self, said: str) -> None:
        name, _, argument = said.partition(" ")
        command, _ = self.commands.get(name, (None, ""))
        if command is None:
            raise ValueError(f"Unknown command {name}; /help lists the commands.")
        command(argument.strip())

    def _help(self, _: str) -> None:
        width = max(map(len, self.commands))
        self._say("\n".join(f"{name:<{width}}  {text}" for name, (_, text) in self.commands.items()))

    def _switch(self, lineup: str) -> None:
        if lineup:
            mixture = self._mixture.switched_to(lineup)
            self._model, self._mixture = mixture.build(), mixture
        self._say(self._describe())

    def _references(self, _: str) -> None:
        if self._last is None:
            msg = "no answer yet, so no references."
            raise ValueError(msg)
        layers = self._last.response_metadata.get("moa", {}).get("layers", [])
        calls = [(number, call) for number, layer in enumerate(layers, 1) for call in layer]
        print_references(self._console, calls)

    def _save(self, file: str) -> None:
        if not file:
            raise ValueError("/save needs a file's name.")
        path = Path(file).expanduser()
        path.write_text(json.dumps(messages_to_dict(self._messages), ensure_ascii=False, indent=2), "utf-8")
        self._say(f"saved {len(self._messages)} messages to {path}")

    def _load(self, file: str) -> None:
        if not file:
            raise ValueError("/load needs a file's name.")
        path = Path(file).expanduser()
        text = path.read_text("utf-8")
        try:
            messages = messages_from_dict(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{str(path)!r} is not a conversation that /save wrote.") from None
        self._messages = messages
        self._accounts = [m.response_metadata["moa"] for m in messages if "moa" in m.response_metadata]
        self._last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        self._say(f"loaded {len(messages)} messages from {path}")

    def _regenerate(self, _: str) -> None:
        given = self._messages
        question = given[-2] if len(given) > 1 else None
        if not isinstance(question, HumanMessage):
            raise ValueError("no answer yet, so nothing to ask again.")
        self._messages = given[:-2]
        try:
            self._ask(question)
        except BaseException:  # stopped or failed: what there was stays
            self._messages = given
            raise

    def _attach(self, file: str) -> None:
        if not file:
            raise ValueError("/attach needs a file's name.")
        self._attachments.append(read_attachment(Path(file)))
        self._say(f"{Path(file).name} goes with the next question")

    def _set_system(self, text: str) -> None:
        if text:
            rest = self._messages[len(self._opening) :]
            self._opening = [SystemMessage(text)]
            self._messages = [*self._opening, *rest]
        self._say(self._opening[0].text if self._opening else "no system message")

    def _cost(self, _: str) -> None:
        self._say(summarize_all(self._accounts))

    def _clear(self, _: str) -> None:
        self._messages, self._last, self._accounts = list(self._opening), None, []
        self._say("forgotten")

    def _leave(self, _: str = "") -> None:
        raise EOFError

    def _describe(self) -> str:
        return Description.of(self._model).line()

    def _say(self, text: str) -> None:
        self._console.print(Text(clean(text), "dim"), soft_wrap=not self._console.is_terminal)

    def _complain(self, text: str) -> None:
        print(one_line(text), file=sys.stderr)
