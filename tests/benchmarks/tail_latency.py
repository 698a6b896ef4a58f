"""How long a call of six slow proposers takes: waiting for all, for a quorum, or until a deadline; beside the theory.

python -m tests.benchmarks.tail_latency [--calls 400] [--json]

The proposers' latency is log-normal, median 1 s, 99th percentile 8 s, each independent of the others, and runs five
times as fast here. Times are given in the law's seconds, so that the milliseconds that this process itself takes for a
call count five times too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from langchain_moa import ChatMoA
from tests.benchmarks.load_server import LoadServer

_SCALE = 5
_MEDIAN, _P99, _PROPOSERS = 1.0, 8.0, 6
_QUORUM, _GRACE, _DEADLINE = 4, 0.25, 6.0
_DRAWS = 100_000
_PICTURE = Path(__file__).with_name("tail_latency.svg")

_VARIANTS: dict[str, dict[str, Any]] = {
    "wait for all": {},
    f"deadline {_DEADLINE:g} s, layer {_DEADLINE / 2:g} s": {
        "deadline": _DEADLINE / _SCALE,
        "on_failure": "aggregate_alone",
    },
    f"quorum {_QUORUM}, grace {_GRACE:g} s": {"quorum": _QUORUM, "grace": _GRACE / _SCALE},
}
_THEORIES: list[Callable[[Sequence[float]], float]] = [
    lambda times: times[-1],
    # One layer may take half of the deadline; the other half is the aggregator's.
    lambda times: min(times[-1], _DEADLINE / 2),
    # The k-th order statistic, and the grace unless all are there before.
    lambda times: min(times[_QUORUM - 1] + _GRACE, times[-1]),
]
Sample = list[float]
"""Seconds, sorted."""


def theory(closes: Callable[[Sequence[float]], float]) -> Sample:
    """Draw from the law when a layer closes."""
    draw, spread = random.Random(1), math.log(_P99 / _MEDIAN) / 2.3263
    return sorted(
        closes(sorted(_MEDIAN * draw.lognormvariate(0, spread) for _ in range(_PROPOSERS))) for _ in range(_DRAWS)
    )


async def measure(calls: int, law: str, **limits: Any) -> tuple[Sample, float]:
    """Make calls, three at a time: more, and they wait for this process instead of for their proposers.

    Returns:
        Wall seconds of the calls, sorted, and how many references an answer had on average.
    """
    proposers = [f"together:proposer?{law}&number={number}" for number in range(_PROPOSERS)]
    model = ChatMoA(proposers=proposers, aggregator="together:aggregator?n=1", **limits)
    await model.ainvoke("Warm up.")
    questions = iter(range(calls))
    seconds: Sample = []
    references: list[int] = []

    async def worker() -> None:
        for number in questions:
            started = time.perf_counter()
            answer = await model.ainvoke(f"Question {number}")
            seconds.append(time.perf_counter() - started)
            references.append(sum(call["status"] == "ok" for call in answer.response_metadata["moa"]["layers"][0]))

    await asyncio.gather(worker(), worker(), worker())
    return sorted(seconds), mean(references)


async def run(calls: int) -> dict[str, dict[str, Any]]:
    """Return for each variant the measured and the theoretical sample, and the references kept."""
    law = f"ttft={_MEDIAN / _SCALE * 1000:g}&p99={_P99 / _SCALE * 1000:g}"
    results = {}
    for (name, limits), closes in zip(_VARIANTS.items(), _THEORIES, strict=True):
        print(f"{name} …", file=sys.stderr)
        seconds, references = await measure(calls, law, **limits)
        results[name] = {
            "measured": [second * _SCALE for second in seconds],
            "theory": theory(closes),
            "references": references,
        }
    return results


def _figures(sample: Sample) -> dict[str, float]:
    return {"mean": mean(sample), **{f"p{q}": sample[int(len(sample) * q / 100)] for q in (50, 95, 99)}}


def _print_table(results: dict[str, dict[str, Any]]) -> None:
    print("| seconds: measured (theory) | mean | p50 | p95 | p99 | references |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, result in results.items():
        pairs = zip(_figures(result["measured"]).values(), _figures(result["theory"]).values(), strict=True)
        cells = " | ".join(f"{measured:.2f} ({theoretical:.2f})" for measured, theoretical in pairs)
        print(f"| {name} | {cells} | {result['references']:.1f} of {_PROPOSERS} |")


# -- The picture ----------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 760, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 62, 56
_TICKS = (0.5, 1, 2, 3, 4, 6, 8, 12, 20)
# Of one middle lightness, which dark and light pages both let through; a viewer's own theme need not reach a picture.
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #768390 }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #768390; stroke-opacity: 0.28; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.25; stroke-linejoin: round }
  .theory { fill: none; stroke-width: 1.5; stroke-dasharray: 2 4; stroke-linecap: round }
  .c0 { stroke: #d9533b } .c1 { stroke: #b5820f } .c2 { stroke: #2f86d1 } .key { stroke: #768390 }
"""


def _x(seconds: float) -> float:
    share = math.log(max(seconds, _TICKS[0]) / _TICKS[0]) / math.log(_TICKS[-1] / _TICKS[0])
    return round(_LEFT + min(share, 1) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _path(sample: Sample) -> str:
    points = [(sample[min(int(len(sample) * i / 200), len(sample) - 1)], i / 200) for i in range(201)]
    return "M" + " L".join(f"{_x(seconds)},{_y(share)}" for seconds, share in points)


def draw(results: dict[str, dict[str, Any]]) -> str:
    """Return an SVG picture: the share of calls whose proposals are in, over time."""
    bottom, right = _y(0), _WIDTH - _RIGHT
    parts = [
        f'<text class="title" x="{_LEFT}" y="22">Six proposers: share of calls answered after so many seconds</text>'
    ]
    for tick in _TICKS:
        x = _x(tick)
        parts.append(f'<path class="grid" d="M{x},{_y(1)} V{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    for percent in range(0, 101, 25):
        y = _y(percent / 100)
        parts.append(f'<path class="grid" d="M{_LEFT},{y} H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">seconds (logarithmic)</text>')
    x = _LEFT
    for number, (name, result) in enumerate(results.items()):
        parts.append(f'<path class="theory c{number}" d="{_path(result["theory"])}"/>')
        parts.append(f'<path class="line c{number}" d="{_path(result["measured"])}"/>')
        parts.append(f'<path class="line c{number}" d="M{x},42 h22"/><text x="{x + 28}" y="46">{name}</text>')
        x += 60 + 7 * len(name)
    parts.append(f'<path class="theory key" d="M{x},42 h22"/><text x="{x + 28}" y="46">theory</text>')
    label = "Share of calls answered over time: waiting for all, with a deadline, and with a quorum and a grace."
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{label}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Measure, draw the picture, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=400, help="per variant")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # every straggler is one
    gc.freeze()  # a full collection of all that was imported stops the process for a second of the law
    with LoadServer() as url:
        os.environ.update(TOGETHER_API_KEY="k", TOGETHER_API_BASE=url)
        results = asyncio.run(run(options.calls))
    _PICTURE.write_text(draw(results))
    if options.json:
        keys = ("measured", "theory")
        print(
            json.dumps(
                {name: {key: _figures(result[key]) for key in keys} for name, result in results.items()}, indent=1
            )
        )
    else:
        _print_table(results)


if __name__ == "__main__":
    main()
