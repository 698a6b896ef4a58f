"""The command line, `moa`."""

import logging
import sys
from importlib.util import find_spec


def main() -> None:
    """Run `moa`."""
    missing = [package for package in ("typer", "rich", "prompt_toolkit", "platformdirs") if find_spec(package) is None]
    if missing:
        sys.exit(f'moa needs {", ".join(missing)}: pip install "langchain-moa[cli]"')
    # Failed proposers are shown by the view; without a handler, Python would print the warnings again.
    logging.getLogger("langchain_moa").addHandler(logging.NullHandler())
    from langchain_moa.cli.app import app

    app()
