"""How a command of `moa eval` ends when something failed."""

from __future__ import annotations

import typer


def end(*, answers: int = 0, judgments: int = 0) -> None:
    """Say what failed, and exit with 1; or with 0 when nothing did."""
    counts = [(answers, "answer"), (judgments, "judgment")]
    parts = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    if parts:
        typer.echo(f"moa: {' and '.join(parts)} failed; the same command tries them again.", err=True)
        raise typer.Exit(1)
