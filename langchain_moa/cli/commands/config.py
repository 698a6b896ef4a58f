"""`moa config`: where the options come from."""

from __future__ import annotations

from typing import Any

from langchain_moa.cli import mixture_options as options
from langchain_moa.cli.config import default_path


@options.takes_a_mixture
def config(mixture: options.MixtureOptions, debug: options.Debug = False) -> None:
    """Show which options are set, and where.

    An option on the command line wins over the environment variable of its name (MOA_QUORUM for --quorum), and that
    over the configuration file.
    """
    from rich.console import Console

    from langchain_moa.cli.terminal.answer_view import print_rows

    file = mixture.config.path
    rows = [["configuration file", str(file or default_path()), "read" if file else "not there"]]
    own = mixture.config.mixtures.get(mixture.name or "", {})
    for name, value in mixture.options().items():
        if name in mixture.sources:
            source = mixture.sources[name]
        elif name in own:
            source = mixture.config.place(f"mixtures.{mixture.name}", name)
        elif name in mixture.config.defaults:
            source = mixture.config.place("defaults", name)
        else:
            source = "TOGETHER_API_KEY is not set"
        rows.append([name, _shown(name, value), source])
    for name in mixture.config.mixtures:
        rows.append([f"mixture {name}", "", mixture.config.place(f"mixtures.{name}")])
    print_rows(Console(), ["what", "value", "from"], rows, whole=0)


def _shown(name: str, value: Any) -> str:
    return "***" if name == "api_key" else str(value)
