"""FastChat's judge prompts, used by MT-Bench and pairwise grading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from typing_extensions import TypedDict

from langchain_moa.evals.datasets.jsonl import read_rows

DATA = Path(__file__).parent / "mt_bench_data"
"""Files of lm-sys/FastChat, byte for byte; its NOTICE says which."""


@dataclass(frozen=True, kw_only=True)
class JudgePrompt:
    """A judge prompt: system message and template of the user message."""

    name: str
    system_prompt: str
    prompt_template: str

    def messages(self, **texts: str) -> list[BaseMessage]:
        """Return the messages for the judge. Braces in the texts are left as they are."""
        return [SystemMessage(self.system_prompt), HumanMessage(self.prompt_template.format(**texts))]


class _Row(TypedDict):
    name: str
    system_prompt: str
    prompt_template: str


@cache
def judge_prompts() -> Mapping[str, JudgePrompt]:
    """Return the prompts by name. Source: lm-sys/FastChat, fastchat/llm_judge/data/judge_prompts.jsonl."""
    return {row["name"]: JudgePrompt(**row) for _, row in read_rows(DATA / "judge_prompts.jsonl", _Row)}
