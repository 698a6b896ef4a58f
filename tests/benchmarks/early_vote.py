"""What votes that stop cost and get right: accuracy against model calls, beside the full vote; measured and computed.

python -m tests.benchmarks.early_vote [--questions 500] [--json]

Three models are sampled five times each, in this order, on questions with four possible answers. How often a sample is
right depends on the model and on whether the question is easy; samples are independent of each other, and the wrong
answers equally frequent. After a tie the aggregator writes, a call more, and is right as often as the first model. The
models are scripted; the votes go through `ChatMoA`. The computed figures are exact sums over all votes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, comb, sqrt
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_moa import ChatMoA, Proposer
from langchain_moa.answer_keys import number
from tests.fakes import ScriptedChatModel

_ANSWERS, _SAMPLES = 4, 5
_PICTURE = Path(__file__).with_name("early_vote.svg")

SHARES = {"easy": 0.6, "hard": 0.4}
ACCURACIES = {"easy": (0.95, 0.90, 0.92), "hard": (0.50, 0.55, 0.52)}
"""By the kind of question: how often a sample of each model is right."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to vote."""

    line: str
    """What the picture calls it."""

    voters: int = 3 * _SAMPLES
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.line}: {options}" if options else f"{self.line} of {self.voters}"


SETTINGS = [
    *(Setting(line="full vote", voters=voters) for voters in (1, 3, 5, 7, 10, 12, 15)),
    *(
        Setting(line="one by one (Adaptive-Consistency)", options={"wave": 1, "confidence": confidence})
        for confidence in (0.7, 0.8, 0.9, 0.95, 0.99)
    ),
    Setting(line="one by one (Adaptive-Consistency)", options={"wave": 1}),
    *(
        Setting(line="model by model (ModelSwitch)", options={"wave": 5, "confidence": confidence})
        for confidence in (0.8, 0.95, 0.99)
    ),
    Setting(line="model by model (ModelSwitch)", options={"wave": 5}),
]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one question costs, and gets right, on average."""

    accuracy: float
    calls: float
    calls_squared: float

    def errors(self, questions: int) -> tuple[float, float]:
        """Return the standard errors of accuracy and calls, when they are measured on so many questions."""
        return (
            sqrt(self.accuracy * (1 - self.accuracy) / questions),
            sqrt(max(self.calls_squared - self.calls**2, 0) / questions),
        )


# -- Computed -------------------------------------------------------------------------------------------------------

_Votes = tuple[int, ...]
"""Of the right answer, then of the wrong ones, most first."""


def computed(setting: Setting) -> Figures:
    """Return the exact figures of a setting: the sum over all votes, in the order in which they are asked for."""
    sums = [0.0, 0.0, 0.0]
    for kind, share in SHARES.items():
        for votes, place, probability in _ends(setting, ACCURACIES[kind]):
            right, wrong = votes[0], votes[1]
            wave = setting.options.get("wave") or setting.voters
            calls = min(ceil(place / wave) * wave, setting.voters)
            is_right = float(right > wrong)
            if sorted(votes)[-1] == sorted(votes)[-2]:
                calls, is_right = calls + 1, ACCURACIES[kind][0]
            for i, value in enumerate((is_right, calls, calls**2)):
                sums[i] += share * probability * value
    return Figures(accuracy=sums[0], calls=sums[1], calls_squared=sums[2])


def _ends(setting: Setting, accuracies: Sequence[float]) -> list[tuple[_Votes, int, float]]:
    """Return how a vote may end: the votes, after how many of them, and how probable that is."""
    ends: list[tuple[_Votes, int, float]] = []
    open_votes: dict[_Votes, float] = {(0,) * _ANSWERS: 1.0}
    for place in range(1, setting.voters + 1):
        accuracy = accuracies[(place - 1) // _SAMPLES]
        following: dict[_Votes, float] = defaultdict(float)
        for votes, probability in open_votes.items():
            for answer in range(_ANSWERS):
                share = (1 - accuracy) / (_ANSWERS - 1) if answer else accuracy
                cast = [count + (i == answer) for i, count in enumerate(votes)]
                following[(cast[0], *sorted(cast[1:], reverse=True))] += probability * share
        open_votes = {}
        for votes, probability in following.items():
            if place == setting.voters or _is_clear(votes, setting.voters - place, setting.options.get("confidence")):
                ends.append((votes, place, probability))
            else:
                open_votes[votes] = probability
    return ends


def _is_clear(votes: _Votes, remaining: int, confidence: float | None) -> bool:
    second, first = sorted(votes)[-2:]
    tosses = first + second + 1
    probability = sum(comb(tosses, heads) for heads in range(first + 1)) / 2**tosses
    return first - second > remaining or (confidence is not None and probability >= confidence)


# -- Measured -------------------------------------------------------------------------------------------------------


class Sampled(ScriptedChatModel):
    """Answers "It is 1." as often as it is right, and counts its calls."""

    right: Callable[[str], float]
    """From the kind of a question."""

    draw: random.Random

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.001)  # so that the calls of a wave are all on their way
        return await super()._agenerate(messages, *args, **kwargs)

    def _answer(self, messages: list[BaseMessage], *args: Any) -> str:
        self.seen.append([])
        is_right = self.draw.random() < self.right(messages[-1].text.split()[0])
        return f"It is {1 if is_right else self.draw.randint(2, _ANSWERS)}."


async def measured(setting: Setting, *, questions: int, seed: int = 1) -> tuple[float, float]:
    """Return accuracy and calls per question, as they come out of a `ChatMoA`."""
    draw = random.Random(seed)
    models = [
        Sampled(right=lambda kind, n=n: ACCURACIES[kind][n], draw=draw, model_name=f"model-{n + 1}") for n in range(3)
    ]
    writer = models[0].model_copy(update={"model_name": "writer", "seen": []})
    sizes = [min(_SAMPLES, max(setting.voters - _SAMPLES * n, 0)) for n in range(3)]
    mixture = ChatMoA(
        proposers=[
            Proposer(model=model, samples=samples) for model, samples in zip(models, sizes, strict=True) if samples
        ],
        aggregator=writer,
        aggregation="vote",
        answer_key=number,
        **setting.options,
    )
    kinds = draw.choices(list(SHARES), list(SHARES.values()), k=questions)
    asked = [f"{kind} question {i}" for i, kind in enumerate(kinds)]
    answers = await mixture.abatch(asked, {"max_concurrency": 8})
    right = sum(answer.text == "It is 1." for answer in answers)
    calls = sum(len(model.seen) for model in (*models, writer))
    return right / questions, calls / questions


# -- The picture ----------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 760, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 62, 56
_LOWEST, _HIGHEST = 0.76, 1.0
# Of one middle lightness, which dark and light pages both let through; a viewer's own theme need not reach a picture.
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #768390 }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #768390; stroke-opacity: 0.28; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.25; stroke-linejoin: round }
  .l0 { stroke: #d9533b } .l1 { stroke: #b5820f } .l2 { stroke: #2f86d1 }
  .d0 { fill: #d9533b } .d1 { fill: #b5820f } .d2 { fill: #2f86d1 }
"""


def _x(calls: float) -> float:
    return round(_LEFT + calls / 16 * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(accuracy: float) -> float:
    share = (accuracy - _LOWEST) / (_HIGHEST - _LOWEST)
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def draw(results: Sequence[tuple[Setting, Figures, tuple[float, float]]]) -> str:
    """Return an SVG picture: accuracy over calls, computed as lines and measured as dots."""
    parts = [
        f'<text class="title" x="{_LEFT}" y="22">Votes that stop: accuracy after so many calls per question</text>'
    ]
    for calls in range(0, 17, 2):
        parts.append(f'<path class="grid" d="M{_x(calls)},{_y(_HIGHEST)} V{_y(_LOWEST)}"/>')
        parts.append(f'<text x="{_x(calls)}" y="{_y(_LOWEST) + 20}" text-anchor="middle">{calls}</text>')
    for percent in range(round(_LOWEST * 100), round(_HIGHEST * 100) + 1, 2):
        y = _y(percent / 100)
        parts.append(f'<path class="grid" d="M{_LEFT},{y} H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">model calls per question</text>')
    x = _LEFT
    for place, line in enumerate(dict.fromkeys(setting.line for setting, _, _ in results)):
        points = [(figures, found) for setting, figures, found in results if setting.line == line]
        path = " L".join(f"{_x(figures.calls)},{_y(figures.accuracy)}" for figures, _ in points)
        parts.append(f'<path class="line l{place}" d="M{path}"/>')
        parts += [f'<circle class="d{place}" cx="{_x(c)}" cy="{_y(a)}" r="4"/>' for _, (a, c) in points]
        parts.append(f'<path class="line l{place}" d="M{x},42 h22"/><text x="{x + 28}" y="46">{line}</text>')
        x += 60 + 7 * len(line)
    label = "Accuracy over calls per question: the full vote, one by one, and model by model."
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{label}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Measure, compute, draw the picture, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=500, help="per setting")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # every straggler is one
    results = []
    for setting in SETTINGS:
        print(f"{setting} …", file=sys.stderr)
        results.append((setting, computed(setting), asyncio.run(measured(setting, questions=options.questions))))
    _PICTURE.write_text(draw(results))
    if options.json:
        rows = {
            str(setting): {"computed": [figures.accuracy, figures.calls], "measured": found}
            for setting, figures, found in results
        }
        print(json.dumps(rows, indent=1))
        return
    print("| measured (computed) | accuracy | calls per question |")
    print("| --- | ---: | ---: |")
    for setting, figures, (accuracy, calls) in results:
        print(
            f"| {setting} | {accuracy:.1%} ({figures.accuracy:.1%}) | {calls:.2f} ({figures.calls:.2f}) |".replace(
                "%", " %"
            )
        )


if __name__ == "__main__":
    main()
