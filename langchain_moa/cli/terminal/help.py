"""What `--help` shows in a narrow terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

_PANELS = 120
"""Columns from which on Typer's panels have room for the names of all options; below that it cuts them off."""

_TWO_COLUMNS = 60
"""Columns from which on an option's text has room beside its name."""


def markup_mode() -> Any:
    """Return what Typer calls its `rich_markup_mode`: panels where there is room for them."""
    return "rich" if shutil.get_terminal_size().columns >= _PANELS else None


def fit_to_the_terminal() -> None:
    """Have plain help fit terminals of fewer columns than the 50 that Click assumes (typer 0.29)."""
    TyperCommand.context_class.formatter_class = _PlainHelp


class _PlainHelp(TyperCommand.context_class.formatter_class):  # type: ignore[name-defined,misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.width: int = min(self.width, shutil.get_terminal_size().columns - 2)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names with their texts: beside them, or below them where it is narrow."""
        super().write_dl(rows, col_max if self.width >= _TWO_COLUMNS else 8, col_spacing)
