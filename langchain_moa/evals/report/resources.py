"""The files that a report's page is made of."""

from __future__ import annotations

from importlib.resources import files


def resource(name: str) -> str:
    """Return the text of a file of this folder."""
    return files("langchain_moa.evals.report").joinpath(name).read_text(encoding="utf-8")
