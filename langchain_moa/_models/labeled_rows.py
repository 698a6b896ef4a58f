"""Labels and what they stand for, one below the other."""

from collections.abc import Sequence


def labeled_rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a title, and below it each label with its text, aligned."""
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join([title, *(f"  {label + ':':{width}}{text}" for label, text in rows)])
