"""Read the user's input: from a prompt with history on a terminal, from stdin otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

Prompt = Callable[[str], str]
"""Takes the default for an empty input, and returns the user's input.

Raises `EOFError` at the end of input, and `KeyboardInterrupt` for Ctrl-C.
"""


def open_prompt(commands: Iterable[str]) -> Prompt:
    """Return the function that reads the user's input.

    Args:
        commands: Commands for tab completion.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _read_line
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    session: PromptSession[str] = PromptSession(
        "\n> ",
        history=_history(),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        multiline=True,
        prompt_continuation="  ",
        key_bindings=_keys(),
    )
    return lambda suggestion: session.prompt(placeholder=suggestion) or suggestion


def _read_line(_: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _keys() -> KeyBindings:
    """Return key bindings: Enter sends, Alt-Enter (Esc, Enter) starts a new line."""
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    def _newline(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(state, "langchain-moa", "history")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:  # nowhere to write is no reason not to talk
        return InMemoryHistory()
    return FileHistory(path)
