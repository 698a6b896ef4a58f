"""The configuration file: mixtures of the user's own, and defaults.

```toml
[defaults]                      # for whatever is not given otherwise
model = "panel"
deadline = 60

[mixtures.panel]
proposers = ["Qwen/Qwen3.7-Max", { model = "google/gemma-4-31B-it", samples = 2, temperature = 1.0 }]
aggregator = "Qwen/Qwen3.7-Max"
quorum = 2
```
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from langchain_moa.cli.declared_options import declared_options

ENVIRONMENT = "MOA_CONFIG"
_TABLES = ("defaults", "mixtures")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a configuration file says."""

    path: Path | None = None
    """`None`: there is no file."""

    text: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Options by name, for every mixture that does not set them itself. `model` is what `moa ask` asks."""

    mixtures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of each mixture, by its name and theirs."""

    def place(self, table: str, *keys: str) -> str:
        """Return the file and line in which the first of some keys stands that the table has, or else the table."""
        lines = self.text.splitlines()
        header = next((number for number, line in enumerate(lines) if line.strip() == f"[{table}]"), 0)
        for key in keys:
            assigned = re.compile(rf"(?<![\w-])[\"']?{re.escape(key)}[\"']?\s*[=\]]")
            for number in range(header, len(lines)):
                if assigned.search(lines[number]):
                    return f"{str(self.path)!r}, line {number + 1}"
        return f"{str(self.path)!r}, line {header + 1}"


def default_path() -> Path:
    """Return where the file is looked for if none is named."""
    return user_config_path("langchain-moa") / "moa.toml"


def load_users_config() -> Config:
    """Read the configuration file that the environment names, or the one at `default_path()`."""
    named = os.environ.get(ENVIRONMENT)
    return load_config(Path(named) if named else None)


def load_config(path: Path | None) -> Config:
    """Read the configuration file.

    Args:
        path: The file. `None`: the one at `default_path()`, if it is there.

    Raises:
        ValueError: It is no TOML, or has a table or an option that does not exist.
    """
    if path is None:
        path = default_path()
        if not path.is_file():
            return Config()
    text = path.read_text("utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{str(path)!r} is not valid TOML: {error}") from None
    config = Config(path=path, text=text, defaults=content.get("defaults", {}), mixtures=content.get("mixtures", {}))
    for table in content:
        if table not in _TABLES:
            raise ValueError(f"{config.place(table, table)}: {_unknown('table', table, _TABLES)}")
    _check(config, "defaults", config.defaults)
    for name, mixture in config.mixtures.items():
        _check(config, f"mixtures.{name}", mixture)
    return config


def _check(config: Config, table: str, options: Any) -> None:
    if not isinstance(options, Mapping):
        raise ValueError(f"{config.place(table)}: {table} must be a table: [{table}]")
    for name in options:
        if name not in declared_options():
            raise ValueError(f"{config.place(table, name)}: {_unknown('option', name, tuple(declared_options()))}")


def _unknown(kind: str, name: str, names: tuple[str, ...]) -> str:
    meant = get_close_matches(name, names, n=1)
    hint = f"Did you mean {meant[0]!r}?" if meant else f"Choose from {', '.join(names)}."
    return f"there is no {kind} {name!r}. {hint}"
