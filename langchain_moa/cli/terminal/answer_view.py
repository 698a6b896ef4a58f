"""Show an answer while it is generated: live on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from langchain_moa.cli.terminal.answer_summary import summarize
from langchain_moa.cli.terminal.keyboard import no_echo
from langchain_moa.cli.terminal.markdown import render, split_finished
from langchain_moa.cli.terminal.text import clean, counted, one_line, printable

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from langchain_moa.state import ProposerCall

_MARKS = {
    "waiting": ("…", "dim"),
    "ok": ("✓", "green"),
    "truncated": ("✓", "yellow"),
    "cancelled": ("·", "dim"),  # the others were enough
}
_FAILED = ("✗", "red")

# From so many columns on, the proposals of a layer are shown side by side.
_SIDE_BY_SIDE = 120

# And so many columns does a table need.
_TABLE = 80


@dataclass(kw_only=True)
class _Line:
    """The line of one call on the terminal."""

    name: str
    layer: int | None = None
    """`None`: the aggregator."""

    status: str = "waiting"
    note: str = ""
    tokens: int | None = None
    seconds: float | None = None
    started: float = field(default_factory=monotonic)

    def cells(self) -> list[Text]:
        seconds = monotonic() - self.started if self.seconds is None else self.seconds
        return [
            Text(*self._mark()),
            Text("aggregator" if self.layer is None else f"layer {self.layer}", "dim"),
            Text(self.name),
            Text(f"{seconds:.1f} s"),
            Text("" if self.tokens is None else f"{self.tokens} tokens"),
        ]

    def described(self) -> Text:
        """Return what went wrong, or how it ended if not as usual."""
        return Text(self.note or ("" if self.status in ("ok", "waiting") else self.status), self._mark()[1])

    def _mark(self) -> tuple[str, str]:
        return _MARKS.get(self.status, _FAILED)


class LiveView:
    """A live view on a terminal: a line per proposer, then the answer as streaming Markdown."""

    def __init__(self, console: Console, *, show_references: bool = False) -> None:
        """Create a view.

        Args:
            console: A terminal.
            show_references: Whether to print the references before the answer.
        """
        self._console = console
        self._show_references = show_references
        self._lines: list[_Line] = []
        self._tail = ""
        self._screen = ExitStack()
        # Without a thread of its own: rich lets that draw in the middle of a `print`, and lines get lost.
        self._live = Live(console=console, get_renderable=self._draw, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        """Start the live display."""
        self._screen.enter_context(no_echo())
        self._live.start()
        self._screen.callback(self._live.stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the live display and print what is finished."""
        lines, tail = [line for line in self._lines if line.seconds is not None], self._tail
        self._lines, self._tail = [], ""
        with self._screen:
            self._print_lines(lines)
            self._print_block(tail)

    def tick(self) -> None:
        """Refresh the live display."""
        self._live.refresh()

    def progress(self, event: dict[str, Any]) -> None:
        """Show a progress event of the graph."""
        match event["event"]:
            case "moa_proposer_start":
                self._lines.append(_Line(name=printable(event["proposer"]), layer=event["layer"]))
            case "moa_proposer_end":
                self._finish(event)
            case "moa_layer_end":
                lines, self._lines = self._lines, []
                self._print_lines(lines)
            case "moa_aggregator_start":
                self._lines = [_Line(name=printable(event["model"]))]

    def references(self, calls: Sequence[tuple[int, ProposerCall]]) -> None:
        """Print the references if requested."""
        if self._show_references:
            print_references(self._console, calls)

    def token(self, text: str) -> None:
        """Print the finished Markdown blocks, and show the rest live."""
        self._lines = []
        self._tail += printable(text)
        if "\n" in text:  # only whole lines finish anything
            finished, self._tail = split_finished(self._tail)
            self._print_block(finished)

    def _finish(self, event: dict[str, Any]) -> None:
        for line in self._lines:
            if line.seconds is None and (line.layer, line.name) == (event["layer"], printable(event["proposer"])):
                line.status, line.seconds = event["status"], event["seconds"]
                line.note = one_line(event["error"] or "")
                line.tokens = (event["usage"] or {}).get("output_tokens")

    def _draw(self) -> RenderableType:
        return _Bottom(_Block(self._tail) if self._tail.strip() else _Lines(self._lines))

    def _print(self, content: RenderableType) -> None:
        """Print above the live display, refreshed first so that nothing appears twice."""
        with self._console:
            self._live.refresh()
            self._console.print(content)

    def _print_lines(self, lines: list[_Line]) -> None:
        if lines:
            self._print(_Lines(lines))

    def _print_block(self, text: str) -> None:
        if text.strip():
            self._print(_Block(text))


@dataclass
class _Bottom:
    """The last lines of content that is taller than the screen."""

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.content, options.update(height=None), pad=False)
        for line in lines[-max(1, console.height - 1) :]:
            yield from line
            yield Segment.line()


class PlainView:
    """A view without a terminal: the answer on stdout, progress lines on stderr."""

    def __init__(self, out: TextIO | None, err: TextIO, *, show_references: bool = False) -> None:
        """Create a view.

        Args:
            out: Stream for the answer. `None`: the answer is not printed.
            err: Stream for progress.
            show_references: Whether to print the references before the answer.
        """
        self._out = out
        self._err = err
        self._show_references = show_references
        self._ends_a_line = True

    def __enter__(self) -> Self:
        """Return the view."""
        return self

    def __exit__(self, *_: object) -> None:
        """Print a final newline if the answer has none."""
        if self._out and not self._ends_a_line:
            print(file=self._out, flush=True)

    def progress(self, event: dict[str, Any]) -> None:
        """Print a line when a call ends, and when the aggregator starts."""
        if event["event"] == "moa_proposer_end":
            tokens = (event["usage"] or {}).get("output_tokens")
            parts = [event["status"], f"{event['seconds']:.1f} s", f"{tokens} tokens" if tokens is not None else ""]
            text = f"layer {event['layer']}: {event['proposer']}: {', '.join(filter(None, parts))}"
            print(one_line(f"{text}: {event['error']}" if event["error"] else text), file=self._err, flush=True)
        elif event["event"] == "moa_aggregator_start":
            text = f"aggregator: {event['model']}, {counted(event['references'], 'reference')}"
            print(one_line(text), file=self._err, flush=True)

    def tick(self) -> None:
        """Do nothing; there is no live display."""

    def references(self, calls: Sequence[tuple[int, ProposerCall]]) -> None:
        """Print the references if requested."""
        if self._show_references and self._out:
            print_references(Console(file=self._out), calls)
            print("## Answer\n", file=self._out, flush=True)

    def token(self, text: str) -> None:
        """Print the next part of the answer."""
        if self._out and (text := printable(text)):
            print(text, end="", file=self._out, flush=True)
            self._ends_a_line = text.endswith("\n")


def open_view(*, show_references: bool = False, raw: bool = False) -> LiveView | PlainView:
    """Return a live view if stdout is a terminal, and a plain view otherwise, or if the text is wanted as it came."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and not raw:
        return LiveView(console, show_references=show_references)
    return PlainView(sys.stdout, sys.stderr, show_references=show_references)


def show_summary(answer: AIMessage, seconds: float) -> None:
    """Print the summary of an answer: below it on a terminal, on stderr otherwise."""
    lines = "\n".join(summarize(answer.response_metadata["moa"], seconds))
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Text(f"\n{lines}", "dim"))
    else:
        print(lines, file=sys.stderr)


def print_references(console: Console, calls: Sequence[tuple[int, ProposerCall]]) -> None:
    """Print references under their proposers' names: side by side where there is room, else one below the other.

    Without a terminal they are plain Markdown.
    """
    if console.is_terminal and console.width >= _SIDE_BY_SIDE:
        for layer in sorted({layer for layer, _ in calls}):
            console.print(_side_by_side(layer, [call for number, call in calls if number == layer]))
        return
    for layer, call in calls:
        for text in (_heading(layer, call), _proposal(call)):
            if console.is_terminal:
                console.print(_Block(text))
            else:
                print(text, end="\n\n", file=console.file)


def print_text(text: str) -> None:
    """Print a text, wrapped between words on a terminal."""
    console = Console(highlight=False)
    console.print(Text(clean(text)), soft_wrap=not console.is_terminal)


def print_rows(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int) -> None:
    """Print a table: formatted on a terminal, as a list where that is narrow, and tab-separated otherwise.

    Args:
        console: The console.
        header: Column names.
        rows: Cells by row.
        whole: Index of the column that is not wrapped.
    """
    if not console.is_terminal:
        for row in (header, *rows):
            print(*(one_line(cell) for cell in row), sep="\t", file=console.file)
    elif console.width < _TABLE:
        for row in rows:
            console.print(Text(clean(row[0]), "bold", overflow="fold"))
            for name, cell in zip(header[1:], row[1:], strict=True):
                if cell:
                    console.print(Padding(Text(f"{name}: {clean(cell)}", overflow="fold"), (0, 0, 0, 2)))
    else:
        table = Table(*header, show_lines=True, box=box.HORIZONTALS)
        table.columns[whole].no_wrap = True
        for row in rows:
            table.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
        console.print(table)


@dataclass
class _Block:
    """Markdown with exactly one blank line before it and none after, whatever rich adds."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(render(self.text), options, pad=False)
        shown = [number for number, line in enumerate(lines) if "".join(part.text for part in line).strip()]
        yield Segment.line()
        for line in lines[shown[0] : shown[-1] + 1] if shown else []:
            yield from line
            yield Segment.line()


@dataclass
class _Lines:
    """The lines of calls: aligned where they fit, and what failed beside or below."""

    lines: Sequence[_Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [line.cells() for line in self.lines]
        widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
        aligned = sum(widths) + len(widths) - 1 <= options.max_width
        for row, line in zip(rows, self.lines, strict=True):
            for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
                if aligned:
                    cell.align("right" if number in (3, 4) else "left", width)
            text = Text(" ").join(cell for cell in row if cell.cell_len)
            note = line.described()
            if note.cell_len and text.cell_len + 1 + note.cell_len <= options.max_width:
                yield text + Text(" ") + note
            else:
                yield text
                if note.cell_len:
                    yield Padding(note, (0, 0, 0, 2))


def _side_by_side(layer: int, calls: Sequence[ProposerCall]) -> Table:
    table = Table(*(Column(Text(_heading(layer, call)[3:])) for call in calls), box=box.ROUNDED, expand=True)
    for column in table.columns:
        column.ratio, column.overflow = 1, "fold"
    table.add_row(*(render(_proposal(call)) for call in calls))
    return table


def _heading(layer: int, call: ProposerCall) -> str:
    return f"## {one_line(call['proposer'])} ({one_line(call['model'])}), layer {layer}"


def _proposal(call: ProposerCall) -> str:
    return printable(call.get("text") or "") or f"({call['status']}: {one_line(call['error'] or 'no text')})"
