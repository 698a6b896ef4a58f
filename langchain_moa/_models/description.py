"""Who takes part in a mixture, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, pairwise
from typing import Any, Self

from langchain_core.runnables import Runnable, RunnableWithFallbacks

from langchain_moa._messages.prompts import PROMPTS
from langchain_moa._models.factory import model_name, unbound
from langchain_moa._models.labeled_rows import labeled_rows
from langchain_moa._models.mixture import writers_and_judge
from langchain_moa._runtime.ballot import Ballot
from langchain_moa._runtime.layer_clock import needed_references
from langchain_moa.display import draw_mixture
from langchain_moa.lineups import get_lineup
from langchain_moa.options import AggregatorLike, MoAOptions, ProposerLike
from langchain_moa.proposers import Aggregator, ModelSettings, Proposer

Calls = tuple[int, int]
"""The least and the most model calls that one answer takes if nothing fails."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Who takes part in a mixture, by name. No model is built for it, so it needs no key."""

    layers: list[dict[str, int]]
    """For each layer the proposers, and how many answers each gives."""

    calls_of_layers: list[list[Calls]]
    """For each layer what each of its answers takes: more than one call if a mixture gives it."""

    calls_of_writer: Calls
    aggregator: str
    fallbacks: list[str]
    judges: list[str]

    models: list[str]
    """Every model that is given as a string, each once."""

    aggregation: str
    window: int | None

    options: MoAOptions

    @classmethod
    def of(cls, options: MoAOptions) -> Self:
        """Describe the mixture that options make.

        Raises:
            ValueError: The line-up that they name is unknown.
        """
        lineup = None if options.is_explicit else get_lineup(options.model)
        layers: Sequence[Sequence[ProposerLike]]
        if options.layers is not None:
            layers = options.layers
        else:
            proposers = options.proposers if options.proposers is not None else lineup.proposers if lineup else ()
            layers = [proposers] * (options.rounds or (lineup.rounds if lineup else 1))
        writing, judge = writers_and_judge(options, lineup)
        writers = [name for writer in writing for name in _names(writer)]
        # A line-up's judge may be asked for at any time.
        judges = [judge, lineup.judge if lineup and options.aggregator is None else None]
        everybody = [*(proposer for layer in layers for proposer in layer), *writing, *judges]
        models = [one.model if isinstance(one, ModelSettings) else one for one in everybody]
        return cls(
            layers=[_counted(layer) for layer in layers],
            calls_of_layers=[list(chain.from_iterable(map(_calls_of_proposer, layer))) for layer in layers],
            calls_of_writer=_calls_of(writing[0]),
            aggregator=writers[0],
            fallbacks=writers[1:],
            judges=_names(judge) if judge else [],
            models=list(dict.fromkeys(model for model in models if isinstance(model, str) and model)),
            aggregation=options.aggregation,
            window=options.window or (lineup.window if lineup else None),
            options=options,
        )

    def __str__(self) -> str:
        """Say it in a line each for the layers, the aggregator and the calls."""
        rows = [(f"Layer {number}", ", ".join(_with_counts(layer))) for number, layer in enumerate(self.layers, 1)]
        rows.append(("Aggregator", self.aggregator))
        if self.fallbacks:
            rows.append(("Fallbacks", ", ".join(self.fallbacks)))
        if self.judges:
            rows.append(("Judge", ", ".join(self.judges)))
        rows.append(("Aggregation", self._aggregation()))
        if self.options.prompt != "paper":
            rows.append(("Prompt", _prompt(self.options.prompt)))
        rows.append(("Calls per answer", self._calls()))
        return labeled_rows(self.options.model, rows)

    def brief(self) -> list[tuple[str, Any]]:
        """Return the names and values that a `repr` shows."""
        layers = [_with_counts(layer) for layer in self.layers]
        if all(layer == layers[0] for layer in layers):
            taking_part = [("proposers", layers[0] if layers else []), ("rounds", len(layers))]
        else:
            taking_part = [("layers", layers)]
        return [("model", self.options.model), *taking_part, ("aggregator", self.aggregator)]

    def html(self) -> str:
        """Return it for a notebook: a drawing, and the text below."""
        drawing = draw_mixture([_with_counts(layer) for layer in self.layers], self.aggregator)
        return f"{drawing}<pre>{escape(str(self))}</pre>"

    def line(self) -> str:
        """Say it on one line: proposers → aggregator."""
        layers = [", ".join(_with_counts(layer)) for layer in self.layers]
        rounds = f" in {len(layers)} rounds" if len(layers) > 1 else ""
        proposers = f"{layers[0]}{rounds}" if len(set(layers)) == 1 else " → ".join(layers)
        aggregation = "" if self.aggregation == "synthesize" else f", {self.aggregation}"
        return f"{self.options.model}: {proposers} → {self.aggregator}{aggregation}"

    def _aggregation(self) -> str:
        text = self.aggregation
        if self.options.judge_samples > 1:
            text += f", {self.options.judge_samples} verdicts"
        return f"{text}, {self.window} references at a time" if self.window else text

    def calls(self) -> Calls:
        """The least and the most model calls of one answer if nothing fails, those of mixtures inside included."""
        *before, last = self.calls_of_layers or [[]]
        kept = last[: len(last) - self._spared(len(last))]
        writing = self._aggregator_calls(len(last))
        least = sum(calls[0] for layer in [*before, kept] for calls in layer) + writing[0] * self.calls_of_writer[0]
        most = sum(calls[1] for layer in self.calls_of_layers for calls in layer) + writing[1] * self.calls_of_writer[1]
        return least, most

    @property
    def passages(self) -> int:
        """How many references the models of one answer read, all together."""
        sizes = [len(layer) for layer in self.calls_of_layers]
        return sum(before * after for before, after in pairwise([*sizes, 1]))

    def _calls(self) -> str:
        """Return how many model calls one answer takes if nothing fails, or the least and the most of them."""
        least, most = self.calls()
        return f"{least}" if least == most else f"{least} to {most}"

    def _spared(self, voters: int) -> int:
        """Return how many proposers of the last layer are not asked when those before them agree."""
        options = self.options
        if options.wave is None:
            return 0
        for asked in range(options.wave, voters, options.wave):
            ballot = Ballot(voters, confidence=options.confidence, votes=["the same"] * asked)
            enough = asked >= needed_references(options.quorum, voters)
            if enough or (ballot.is_decided and asked >= options.min_references):
                return voters - asked
        return 0

    def _aggregator_calls(self, references: int) -> tuple[int, int]:
        writing = _passes(references, self.window, self.options.reserve)
        if self.aggregation == "vote":  # the aggregator writes when there is no winner
            return 0, writing
        if self.aggregation == "select":
            samples = self.options.judge_samples
            verdicts = 0 if references < 2 else samples * _passes(references, self.window, 1)
            # The aggregator writes when several verdicts have no majority.
            return (verdicts, verdicts + writing) if samples > 1 and verdicts else (verdicts, verdicts)
        return (writing + 1, writing + 1) if self.aggregation == "analyze" else (writing, writing)


def _passes(references: int, window: int | None, reserve: int) -> int:
    if window is None or references <= window:
        return 1
    return 1 + math.ceil((references - window) / (window - reserve))


def _prompt(prompt: str | Callable[..., str]) -> str:
    if isinstance(prompt, str):
        return prompt if prompt in PROMPTS else "a template of your own"
    return getattr(prompt, "__name__", type(prompt).__name__)


def _counted(proposers: Sequence[ProposerLike]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for proposer in proposers:
        if isinstance(proposer, Proposer):
            name = _name(proposer.model)
            counts[f"{name} ({proposer.name})" if proposer.name else name] += proposer.samples
        else:
            counts[_name(proposer)] += 1
    return dict(counts)


def _calls_of_proposer(proposer: ProposerLike) -> list[Calls]:
    """Return the calls of each of a proposer's answers."""
    return [_calls_of(proposer)] * (proposer.samples if isinstance(proposer, Proposer) else 1)


def _calls_of(model: ProposerLike | AggregatorLike) -> Calls:
    if isinstance(model, ModelSettings):
        model = model.model
    inner = model if isinstance(model, str) else unbound(model)
    return Description.of(inner).calls() if isinstance(inner, MoAOptions) else (1, 1)


def _with_counts(layer: dict[str, int]) -> list[str]:
    return [name if count == 1 else f"{name} x{count}" for name, count in layer.items()]


def _names(writer: AggregatorLike) -> list[str]:
    if isinstance(writer, Aggregator):
        return _names(writer.model)
    if isinstance(writer, RunnableWithFallbacks) and writer.exception_key is None:
        return [name for model in writer.runnables for name in _names(model)]
    return [_name(writer)]


def _name(model: str | Runnable[Any, Any]) -> str:
    return model if isinstance(model, str) else model_name(model)
