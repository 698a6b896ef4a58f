"""The line-ups that `moa eval search` compares, as systems, as Python and as a configuration file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_moa.cli.evaluation.replaying import replaying
from langchain_moa.cli.evaluation.system_specs import as_name

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.evals.running.proposals import Proposals
    from langchain_moa.evals.systems import System

Way = Literal["vote", "select", "synthesize", "analyze"]

_CALLS: Mapping[Way, int] = {"vote": 1, "select": 1, "synthesize": 1, "analyze": 2}
"""Most calls of the writer. Of a vote it is one, when there is no winner."""


@dataclass(frozen=True, kw_only=True)
class LineUp:
    """Members, a way to aggregate their proposals, and who writes."""

    samples: Mapping[str, int]
    """By the name of each member, how many proposals it gives."""

    way: Way
    writer: str

    @property
    def proposers(self) -> list[str]:
        """The names of its proposals: `a`, `a.2` and `b`, for two of `a` and one of `b`."""
        return [sample_name(name, number) for name, count in self.samples.items() for number in range(1, count + 1)]

    @property
    def calls(self) -> int:
        """Most model calls after the proposals."""
        return _CALLS[self.way]

    @property
    def name(self) -> str:
        """Its name in files and reports: `a+a.2+b.select.writer`."""
        writer = "" if self.way == "vote" else f".{self.writer}"
        return as_name(f"{'+'.join(self.proposers)}.{self.way}{writer}")

    def to_system(self, models: Mapping[str, System], proposals: Proposals) -> System:
        """Return the mixture as a system that takes its proposals from those that are there."""
        from langchain_moa.evals.results.keys import key_of
        from langchain_moa.evals.systems import System

        writer = models[self.writer]

        def build(decoding: Mapping[str, Any]) -> BaseChatModel:
            from langchain_moa.chat_models import ChatMoA

            layer = [replaying(name, proposals.find) for name in self.proposers]
            return ChatMoA(layers=[layer], aggregator=writer.model(decoding), aggregation=self.way)

        fingerprints = [models[name].fingerprint for name in self.samples]
        return System(
            name=self.name,
            fingerprint=key_of(self.proposers, fingerprints, self.way, writer.fingerprint),
            build=build,
            spec=self.name,
        )

    def options(self, specs: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of a `ChatMoA`: a proposer of several samples is a dictionary."""
        proposers = [
            specs[name] if count == 1 else {"model": specs[name], "samples": count}
            for name, count in self.samples.items()
        ]
        return {"proposers": proposers, "aggregator": specs[self.writer], "aggregation": self.way}


def sample_name(model: str, number: int) -> str:
    """Return the name of a model's first, second, ... proposal."""
    return model if number == 1 else f"{model}.{number}"


def line_ups(
    models: Sequence[str], *, samples: int, most: int, ways: Sequence[Way], writers: Sequence[str]
) -> list[LineUp]:
    """Return every line-up, the one with the fewest calls first.

    Args:
        models: Names of possible members.
        samples: How many proposals one member may give.
        most: How many proposals there may be.
        ways: Ways to aggregate.
        writers: Names of possible writers. The first breaks the ties of votes.
    """
    counts = product(range(samples + 1), repeat=len(models))
    members = [{model: n for model, n in zip(models, each, strict=True) if n} for each in counts]
    found = [
        LineUp(samples=each, way=way, writer=writer)
        for each in members
        if 2 <= sum(each.values()) <= most
        for way in ways
        for writer in (writers[:1] if way == "vote" else writers)
    ]
    order = get_args(Way)
    return sorted(found, key=lambda one: (len(one.proposers), order.index(one.way)))


def to_python(options: Mapping[str, Any]) -> str:
    """Return the code that builds a mixture."""
    values = {**options, "proposers": [_as_code(proposer) for proposer in options["proposers"]]}
    proposers = ", ".join(values.pop("proposers"))
    rest = "".join(f"    {name}={json.dumps(value, ensure_ascii=False)},\n" for name, value in values.items())
    return f"from langchain_moa import ChatMoA, Proposer\n\nmodel = ChatMoA(\n    proposers=[{proposers}],\n{rest})\n"


def to_toml(name: str, options: Mapping[str, Any]) -> str:
    """Return the configuration file that has a mixture."""
    lines = (f"{key} = {_as_toml(value)}\n" for key, value in options.items())
    return f"[mixtures.{name}]\n{''.join(lines)}"


def _as_code(proposer: str | Mapping[str, Any]) -> str:
    if isinstance(proposer, str):
        return json.dumps(proposer, ensure_ascii=False)
    return f"Proposer(model={json.dumps(proposer['model'], ensure_ascii=False)}, samples={proposer['samples']})"


def _as_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_as_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # a string or a number of JSON is one of TOML
