"""Line-ups: named proposers and an aggregator, as data with a source and a date.

Together has retired most of the published ones; they stay for reproduction. `moa doctor NAME` checks a line-up
against the models that the provider serves now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.proposers import Proposer

ANSWER_MAX_TOKENS = 8192
"""Maximum number of tokens of an answer, where nobody says otherwise: less would cut off long ones, and reasoning."""

RESERVE = 3
"""Places in a window that the synthesis so far takes, unless an option says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """Named proposers and their aggregator."""

    proposer_data: tuple[str | Mapping[str, Any], ...]
    """The proposers of each layer as data: a model, or the arguments of a `Proposer`."""

    aggregator: str
    """The model that writes the answer."""

    fallback_aggregators: tuple[str, ...] = ()
    """Models that are tried in this order when the aggregator fails before its first token."""

    judge: str | None = None
    """The model that selects and analyzes; `None`: the aggregator."""

    rounds: int = 1
    """Passes through the proposers. The paper's layers are `rounds + 1`."""

    window: int | None = None
    """Most references that the aggregator sees at once; `None`: all."""

    temperature: float = 0.7
    """Sampling temperature of every call."""

    max_tokens: int = 2048
    """Maximum number of tokens of one reply."""

    answer_max_tokens: int | None = None
    """Maximum number of tokens of the answer; `None`: as of any reply, which is how the published line-ups have it."""

    is_published: bool = False
    """Whether somebody published it as it stands: its references are in the system message in every turn of a chat."""

    description: str
    """What it is for, in one line."""

    source: str
    """Where the configuration was published, or what it was chosen from."""

    date: str
    """When the source said so, as `YYYY-MM`."""

    @property
    def proposers(self) -> tuple[str | Proposer, ...]:
        """The proposers of each layer, in the order in which their references are numbered."""
        from langchain_moa.proposers import Proposer  # `moa lineups` does without LangChain

        return tuple(one if isinstance(one, str) else Proposer(**one) for one in self.proposer_data)

    @property
    def samples(self) -> int:
        """Proposals of one round."""
        return sum(1 if isinstance(proposer, str) else proposer.get("samples", 1) for proposer in self.proposer_data)

    @property
    def calls(self) -> int:
        """Model calls of one answer."""
        passes = 1
        if self.window is not None and self.samples > self.window:
            passes += math.ceil((self.samples - self.window) / (self.window - RESERVE))
        return self.samples * self.rounds + passes


_PAPER_PROPOSERS = (
    "microsoft/WizardLM-2-8x22B",
    "Qwen/Qwen1.5-110B-Chat",
    "Qwen/Qwen1.5-72B-Chat",
    "meta-llama/Llama-3-70b-chat-hf",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "databricks/dbrx-instruct",
)

_SMOLLM2 = "local:smollm2-135m-instruct"


def _smollm2(name: str, temperature: float, instructions: str) -> dict[str, Any]:
    # Without a persona so small a model repeats itself; its answers are short, and so is what the aggregator must read.
    return {
        "model": _SMOLLM2,
        "temperature": temperature,
        "max_tokens": 96,
        "instructions": instructions,
        "name": name,
    }


LINEUPS: Mapping[str, Lineup] = MappingProxyType(
    {
        # Chosen in 2026-11 among the models that Together serves (models.dev, provider togetherai, 2026-10), by replays
        # of DRACO (100 research tasks; Lore-Hex/TrustedRouter-Fusion-Draco, docs/FINDINGS.md; a vendor's, mostly one
        # pass):
        # - Writer: with one panel and one judge GLM-5.2 wrote 71.1, Kimi-K2.6 67.0, DeepSeek-V4-Pro 65.7, Gemma-4-31b
        #   54.0; MiniMax-M3, 71.6, is not served. The successor of GLM-5.2, GLM-5.3, was not among them. It
        #   costs less than Qwen3.7-Max or Kimi-K3. It reasons first, which is in its 8,192 tokens.
        # - Fallback: GLM-5.2 gave an empty answer on one of the tasks.
        # - Judge: a small one costs nothing (a gain of 9.2 points; of 4.4 where it wrote; 23 tasks), and GLM came to
        #   70.3 when it judged itself, to 72.3 and 73.4 when others did. DeepSeek-V4.1-Flash is cheap, and of another
        #   maker than the writer and the panel.
        # - Panel: three makers, since what all get wrong can't be selected right (arXiv:2606.27288). They write no
        #   reasoning, which would count against their 2,048 tokens and hold up the layer.
        "default": Lineup(
            proposer_data=("Qwen/Qwen3.7-Max", "google/gemma-4-31B-it", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
            aggregator="zai-org/GLM-5.3",
            fallback_aggregators=("Qwen/Qwen3.7-Max",),
            judge="deepseek-ai/DeepSeek-V4.1-Flash",
            answer_max_tokens=ANSWER_MAX_TOKENS,
            description="Models that Together serves now: three makers propose, a fourth writes, a fifth judges",
            source="TrustedRouter's replays of DRACO, and models.dev, provider togetherai",
            date="2026-11",
        ),
        "together-moa": Lineup(
            proposer_data=_PAPER_PROPOSERS,
            aggregator="Qwen/Qwen1.5-110B-Chat",
            rounds=2,
            is_published=True,
            description="The paper's MoA; AlpacaEval 2 LC win rate 65.1 ± 0.6",
            source="arXiv:2406.04692, section 3.1",
            date="2024-06",
        ),
        "together-moa-lite": Lineup(
            proposer_data=_PAPER_PROPOSERS,
            aggregator="Qwen/Qwen1.5-72B-Chat",
            is_published=True,
            description="The paper's MoA-Lite; AlpacaEval 2 LC win rate 59.3 ± 0.2",
            source="arXiv:2406.04692, section 3.1",
            date="2024-06",
        ),
        "cookbook": Lineup(
            proposer_data=(
                "microsoft/WizardLM-2-8x22B",
                "Qwen/Qwen2.5-72B-Instruct-Turbo",
                "google/gemma-2-27b-it",
                "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            ),
            aggregator="Qwen/Qwen2.5-72B-Instruct-Turbo",
            max_tokens=512,
            is_published=True,
            description="Together's cookbook, Mixture of Agents: Under the Hood",
            source="togethercomputer/together-cookbook, MoA_Under_the_hood.ipynb",
            date="2024-12",
        ),
        # As in the notebook, one of four makers' models writes too. The first one reasons: the notebook's 512 tokens
        # would cut it off, as they did one of the recorded proposals.
        "cookbook-2026": Lineup(
            proposer_data=(
                {"model": "deepseek-ai/DeepSeek-V4.1-Flash", "max_tokens": ANSWER_MAX_TOKENS},
                "Qwen/Qwen3.7-Max",
                "google/gemma-4-31B-it",
                "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            ),
            aggregator="Qwen/Qwen3.7-Max",
            answer_max_tokens=ANSWER_MAX_TOKENS,
            description="The cookbook's line-up with models that Together serves now",
            source="togethercomputer/together-cookbook, with models of models.dev, provider togetherai",
            date="2026-10",
        ),
        "bot": Lineup(
            proposer_data=(
                "Qwen/Qwen2-72B-Instruct",
                "Qwen/Qwen1.5-72B-Chat",
                "mistralai/Mixtral-8x22B-Instruct-v0.1",
                "databricks/dbrx-instruct",
            ),
            aggregator="Qwen/Qwen2-72B-Instruct",
            max_tokens=512,
            is_published=True,
            description="The interactive demo of the original",
            source="togethercomputer/MoA, bot.py",
            date="2024-07",
        ),
        "self-moa": Lineup(
            proposer_data=({"model": "Qwen/Qwen3.7-Max", "samples": 6},),
            aggregator="Qwen/Qwen3.7-Max",
            answer_max_tokens=ANSWER_MAX_TOKENS,
            description="Six samples of one strong model, aggregated by itself",
            source="arXiv:2502.00674, with a model that Together serves now",
            date="2026-10",
        ),
        "self-moa-seq": Lineup(
            proposer_data=({"model": "Qwen/Qwen3.7-Max", "samples": 12},),
            aggregator="Qwen/Qwen3.7-Max",
            answer_max_tokens=ANSWER_MAX_TOKENS,
            window=6,
            description="Twelve samples of one strong model, aggregated six at a time",
            source="arXiv:2502.00674, section 5, with a model that Together serves now",
            date="2026-10",
        ),
        "local": Lineup(
            proposer_data=(
                _smollm2("brief", 0.2, "Answer in one short sentence."),
                _smollm2("beginner", 0.5, "Answer in two sentences, for a beginner."),
                _smollm2("example", 0.8, "Answer in two sentences, with an example."),
            ),
            aggregator=_SMOLLM2,
            temperature=0.2,
            max_tokens=128,
            description="No key, no network: shows the machinery with a very small model, not quality",
            source="SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), through llama.cpp",
            date="2026-11",
        ),
    }
)


def get_lineup(name: str) -> Lineup:
    """Return the line-up called `name`.

    Raises:
        ValueError: There is none of that name.
    """
    try:
        return LINEUPS[name]
    except KeyError:
        msg = f"Line-up {name!r} is unknown; choose from {', '.join(LINEUPS)}, or give proposers and an aggregator."
        raise ValueError(msg) from None
