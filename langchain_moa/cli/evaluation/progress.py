"""Progress of an evaluation on stderr: bars on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from langchain_moa.cli.terminal.text import counted, one_line

Tick = Callable[[str, str | None], None]
"""Reports a finished item: its name, and its error if it failed."""

_SHOWN_ERRORS = 3


@dataclass
class _Tally:
    """The progress of one step."""

    label: str
    total: int
    done: int = 0
    failed: int = 0

    def count(self, item: str, error: str | None) -> str | None:
        """Count an item, and return a line about its error if it is one of the first."""
        self.done += 1
        self.failed += bool(error)
        return f"{self.label}: {item}: {error}" if error and self.failed <= _SHOWN_ERRORS else None

    @property
    def is_done(self) -> bool:
        """Whether this was the last item."""
        return self.done == self.total

    @property
    def is_at_a_tenth(self) -> bool:
        """Whether this item completed another tenth of them."""
        return self.done * 10 // self.total > (self.done - 1) * 10 // self.total

    @property
    def failures(self) -> str:
        """Number of failed items as text; empty if there are none."""
        return f"{self.failed} failed" if self.failed else ""

    def __str__(self) -> str:
        return ", ".join(filter(None, [f"{self.label}: {self.done}/{self.total}", self.failures]))


class View(Protocol):
    """Shows the progress of an evaluation."""

    def begin(self, label: str, total: int) -> Tick:
        """Start a step with `total` items."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LiveView(Progress):
    """A progress bar per step, with remaining time and number of failures."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            console=console,
        )

    def begin(self, label: str, total: int) -> Tick:
        """Start a step with `total` items."""
        task = self.add_task(label, total=total, failed="")
        tally = _Tally(label, total)

        def tick(item: str, error: str | None) -> None:
            if line := tally.count(item, error):
                self.console.print(Text(one_line(line), "red"))
            self.update(task, advance=1, failed=tally.failures)
            if tally.is_done:  # a bar for each part that there was would soon fill the screen
                self.remove_task(task)
                self.console.print(Text(one_line(str(tally)), "red" if tally.failed else "green"))

        return tick


class PlainView:
    """A line at every tenth of a step, and one for each of the first errors."""

    def __enter__(self) -> Self:
        """Return the view."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def begin(self, label: str, total: int) -> Tick:
        """Start a step with `total` items."""
        tally = _Tally(label, total)

        def tick(item: str, error: str | None) -> None:
            if line := tally.count(item, error):
                _print(line)
            if tally.is_done or tally.is_at_a_tenth:
                _print(str(tally))

        return tick


def open_view() -> View:
    """Return progress bars if stderr is a terminal, and plain lines otherwise."""
    console = Console(stderr=True)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a status line while something runs."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(Text(one_line(what))):
            yield
    else:
        _print(what)
        yield


def end(*, answers: int = 0, judgments: int = 0) -> None:
    """Print how much failed and exit with 1; do nothing if nothing failed."""
    counts = [(answers, "answer"), (judgments, "judgment")]
    parts = [counted(count, word) for count, word in counts if count]
    if parts:
        typer.echo(f"moa: {' and '.join(parts)} failed; run the same command again to retry them.", err=True)
        raise typer.Exit(1)


def _print(line: str) -> None:
    print(one_line(line), file=sys.stderr, flush=True)
