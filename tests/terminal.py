"""`moa` in a pseudo-terminal of a given width, forked from a process in which all packages are loaded already."""

from __future__ import annotations

import multiprocessing
import os
import termios
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte
from pexpect.fdpexpect import fdspawn

# Not `langchain_moa.cli.app`, which looks at the terminal when it is loaded.
_LOADED = ["langchain_moa.chat_models", "langchain_together", "prompt_toolkit", "rich.markdown", "typer.rich_utils"]
_FORK_SERVER = multiprocessing.get_context("forkserver")
_FORK_SERVER.set_forkserver_preload(_LOADED)


class Terminal:
    """A terminal in which `moa` runs. `expect` and `send` are pexpect's."""

    def __init__(self, arguments: Sequence[str], *, width: int, environment: Mapping[str, str]) -> None:
        """Start `moa`."""
        self._controller, terminal = os.openpty()
        self.resize(width)
        self._moa = _FORK_SERVER.Process(target=_run, args=(os.ttyname(terminal), arguments, dict(environment)))
        self._moa.start()
        spawned = fdspawn(self._controller, encoding="utf-8", timeout=60)
        self.expect, self.send, self.sendline, self._spawned = spawned.expect, spawned.send, spawned.sendline, spawned
        self.expect("\x06")  # the terminal is the program's own from here on
        os.close(terminal)

    def __enter__(self) -> Self:
        """Return the terminal."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the terminal."""
        self._spawned.close()
        self._moa.join(60)

    @property
    def printed(self) -> str:
        """What the last `expect` passed over, and what it found."""
        return self._spawned.before + (self._spawned.after if isinstance(self._spawned.after, str) else "")

    def resize(self, width: int) -> None:
        """Give it another width."""
        termios.tcsetwinsize(self._controller, (50, width))

    def exit_code(self) -> int | None:
        """Wait for the end."""
        self._moa.join(60)
        return self._moa.exitcode


def _run(terminal: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.setsid()
    descriptor = os.open(terminal, os.O_RDWR)  # the first terminal that a session opens is its own
    for stream in (0, 1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    import sys

    sys.stdin, sys.stdout, sys.stderr = (open(stream, mode) for stream, mode in ((0, "r"), (1, "w"), (2, "w")))
    os.write(1, b"\x06")
    from langchain_moa.cli import main

    sys.argv = ["moa", *arguments]
    main()


def lines_on_screen(printed: str, *, width: int) -> list[str]:
    """Return the lines on a screen, after a check that none is wider than it."""
    # On a wider screen a line that the terminal would have to wrap shows as what it is.
    wide, screen = pyte.Screen(500, 500), pyte.Screen(width, 500)
    pyte.Stream(wide).feed(printed)
    assert [line for line in wide.display if len(line.rstrip()) > width] == []
    pyte.Stream(screen).feed(printed)
    return [line.rstrip() for line in screen.display if line.strip()]
