"""How a mixture works, whoever takes part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langchain_moa._aggregation.aggregation import Aggregation, Mode
from langchain_moa._messages.prompts import PROMPTS, PromptName
from langchain_moa._nodes.layer import ReferencePlacement, Rules
from langchain_moa._runtime.layer_clock import Limits, Quorum
from langchain_moa._runtime.turn_references import FanOut
from langchain_moa.answer_keys import AnswerKey, final_answer, matching


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `ChatMoA` and `create_moa_graph` that are not about models, by the same names."""

    quorum: Quorum
    grace: float
    deadline: float | None
    min_references: int
    on_failure: Literal["raise", "aggregate_alone"]
    aggregation: Mode
    debias: bool
    answer_key: AnswerKey | str | None
    window: int | None
    reserve: int
    prompt: PromptName
    reference_placement: ReferencePlacement
    shuffle: bool
    shuffle_seed: int
    fan_out: FanOut
    include_references: bool

    def rules(self) -> Rules:
        """Return what holds for every layer."""
        return Rules(
            limits=Limits(quorum=self.quorum, grace=self.grace, deadline=self.deadline),
            min_references=self.min_references,
            on_failure=self.on_failure,
            reference_placement=self.reference_placement,
            render=PROMPTS[self.prompt],
            shuffle_seed=self.shuffle_seed if self.shuffle else None,
        )

    def how(self, window: int | None) -> Aggregation:
        """Return the way from the last layer's references to the answer.

        Args:
            window: The line-up's.

        Raises:
            ValueError: The options contradict each other.
        """
        key = self.answer_key
        if key is not None and self.aggregation != "vote":
            msg = f"answer_key is for aggregation='vote', not {self.aggregation!r}."
            raise ValueError(msg)
        return Aggregation(
            mode=self.aggregation,
            debias=self.debias,
            answer_key=matching(key) if isinstance(key, str) else key or final_answer,
            window=window if self.window is None else self.window,
            reserve=self.reserve,
            render=PROMPTS[self.prompt],
        )
