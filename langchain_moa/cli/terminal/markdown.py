"""Streaming Markdown: finished blocks are printed, only the last one is redrawn."""

from __future__ import annotations

from markdown_it import MarkdownIt
from rich.markdown import Markdown

# HTML would be left out; as text it is shown.
_PARSER = MarkdownIt(options_update={"html": False}).enable("strikethrough").enable("table")


def render(text: str) -> Markdown:
    """Render Markdown for a terminal, with line breaks kept and link targets shown."""
    markdown = Markdown(text, hyperlinks=False)
    markdown.parsed = _PARSER.parse(text)
    for token in markdown.parsed:
        for child in token.children or []:
            if child.type == "softbreak":
                child.type = "hardbreak"
    return markdown


def split_finished(text: str) -> tuple[str, str]:
    """Split text received so far into finished blocks and the rest, which may still change.

    Returns:
        Both parts; together they are `text`.
    """
    # The last line may still become anything: "2" is a paragraph, "2. b" belongs to the list above.
    lines = text.splitlines(keepends=True)
    whole = lines if text.endswith("\n") else lines[:-1]
    starts = [token.map[0] for token in _PARSER.parse("".join(whole)) if token.level == 0 and token.map]
    last = max(starts, default=0)
    return "".join(lines[:last]), "".join(lines[last:])
