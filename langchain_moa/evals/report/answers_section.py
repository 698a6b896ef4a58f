"""The answers in a report's page: compressed, so that 5,000 questions fit, and unpacked a page at a time."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from string import Template

from langchain_moa.evals.report.answer_details import QuestionDetails
from langchain_moa.evals.report.resources import resource

_CHUNK = 50
"""Questions compressed together: more pack better, fewer are there sooner."""

_FILTERS = {"all": "All", "differs": "Where they differ", "failed": "Failures", "hurt": "Where the mixture hurt"}


def answers_section(details: Sequence[QuestionDetails], systems: Sequence[str]) -> str:
    """Return the section with the answers, filled by `answers.js`. Empty if there are none.

    No text of a model is in it as it is: all is compressed, and the script sets it as text, never as HTML.
    """
    if not details:
        return ""
    counts = {"all": len(details), **{name: sum(getattr(one, name) for one in details) for name in list(_FILTERS)[1:]}}
    index = {"systems": list(systems), "chunk": _CHUNK, "flags": [_flags(one) for one in details]}
    chunks = [details[start : start + _CHUNK] for start in range(0, len(details), _CHUNK)]
    return Template(resource("answers.html")).substitute(
        filters="\n".join(_filter(name, label, counts[name]) for name, label in _FILTERS.items()),
        index=json.dumps(index).replace("<", "\\u003c"),
        chunks="\n".join(
            f'<script type="text/plain" class="answers-chunk">{_packed(chunk)}</script>' for chunk in chunks
        ),
    )


def _filter(name: str, label: str, count: int) -> str:
    checked = " checked" if name == "all" else ""
    disabled = "" if count else " disabled"
    return (
        f'<label><input type="radio" name="shown" value="{name}"{checked}{disabled}> {escape(label)} '
        f'<span class="count">{count:,}</span></label>'
    )


def _flags(details: QuestionDetails) -> str:
    """Return the names of the filters that keep a question, as their first letters."""
    return "".join(name[0] for name in list(_FILTERS)[1:] if getattr(details, name))


def _packed(details: Sequence[QuestionDetails]) -> str:
    rows = [{"id": one.question, "text": one.text, "answers": one.answers} for one in details]
    content = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")
    return b64encode(gzip.compress(content, mtime=0)).decode()
