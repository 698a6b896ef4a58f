"""Whether the local model is here."""

from __future__ import annotations

import importlib.util

import pytest

from langchain_moa.exceptions import LocalModelError
from langchain_moa.local import find_weights


def _missing() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed"
    try:
        find_weights()
    except LocalModelError as error:
        return str(error)
    return ""


MISSING = _missing()
"""Why the local model can't run; empty when it can."""

needs_local_model = pytest.mark.skipif(bool(MISSING), reason=MISSING or "all there")
