"""Reasoning that models write into their answers, between `<think>` and `</think>`."""

from __future__ import annotations

import re
from itertools import takewhile

# Tags may have spaces before their end.
_TAG = re.compile(
    r"(?P<opens_line>^[ \t]*+)?<(?P<closing>/?)think(?:ing)?\s*+>(?P<ends_line>[ \t]*+$)?",
    re.IGNORECASE | re.MULTILINE,
)
_CODE_FENCE = "```"


def without_reasoning(text: str) -> str:
    """Return an answer without the reasoning in it; prose about the tags stays.

    - A pair of tags is reasoning when the answer opens with a tag, or the pair opens a line, or spans lines. A pair
      within a line of prose is prose.
    - An opening tag that is never closed is reasoning when there is nothing before it: the answer was cut off.
    - A closing tag that was never opened ends the reasoning when it stands at the beginning or the end of a line: the
      model's chat template had opened it.
    - Tags in backticks and in code blocks are prose.
    """
    tags = [tag for tag in _TAG.finditer(text) if not _is_quoted(tag)]
    start = _end_of_opened_by_template(text, tags)
    kept: list[str] = []
    opening: re.Match[str] | None = None
    has_reasoned, has_said = start > 0, False
    in_code, counted = False, start
    for tag in tags:
        if tag.start() < start:
            continue
        if not tag["closing"]:
            in_code ^= text.count(_CODE_FENCE, counted, tag.start()) % 2 == 1
            counted = tag.start()
            if not in_code and (opening is None or (_opens_line(tag) and not _opens_line(opening))):
                opening = tag
        elif opening is not None:
            has_said = has_said or bool(text[start : opening.start()].strip())
            if has_reasoned or not has_said or _opens_line(opening) or "\n" in text[opening.end() : tag.start()]:
                kept.append(text[start : opening.start()])
                has_reasoned, start, counted = True, tag.end(), tag.end()
            opening = None
    if opening is not None and not has_said and not text[start : opening.start()].strip():
        return "".join(kept)
    return "".join([*kept, text[start:]])


def _end_of_opened_by_template(text: str, tags: list[re.Match[str]]) -> int:
    """Return where the reasoning ends that a chat template has opened; 0 when there is none."""
    end, counted, in_code = 0, 0, False
    for tag in takewhile(lambda tag: tag["closing"], tags):
        in_code ^= text.count(_CODE_FENCE, counted, tag.start()) % 2 == 1
        counted = tag.start()
        if not in_code and (_opens_line(tag) or tag["ends_line"] is not None):
            end = tag.end()
    return end


def _is_quoted(tag: re.Match[str]) -> bool:
    """Tell whether a tag is in backticks. Reasoning may end with some: only those around a closing tag quote it."""
    before, after = tag.string[tag.start() - 1 : tag.start()], tag.string[tag.end() : tag.end() + 1]
    return before == "`" and (after == "`" or not tag["closing"])


def _opens_line(tag: re.Match[str]) -> bool:
    return tag["opens_line"] is not None
