"""What a `ChatMoA` call costs beside the bare calls inside it, measured in turn (A B A B) in one run.

python -m tests.benchmarks.overhead [--only PART ...] [--large] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from langchain_together import ChatTogether

from langchain_moa import ChatMoA
from tests.benchmarks.contenders import Listened, Outer, in_process, on_together, others_over_http, over_http
from tests.benchmarks.load_server import LoadServer

_QUESTION = "What is a monad?"

Medians = dict[str, list[float]]
"""Two figures by what was measured: milliseconds to the first token and to the last, or of CPU and on the wall."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    unit: str
    ours: float
    bare: float
    """What `ours` is held against: bare LangChain, unless `what` says otherwise."""
    figure: str
    """`x`: the ratio; `+`: the difference; `=`: ours alone."""

    bar: float | None = None

    @property
    def measured(self) -> float:
        """The figure that the bar is for."""
        return {"x": self.ours / self.bare if self.bare else 0, "+": self.ours - self.bare, "=": self.ours}[self.figure]

    @property
    def verdict(self) -> str:
        """Whether the bar is met."""
        return "" if self.bar is None else "met" if self.measured <= self.bar else "MISSED"


# -- How it is measured ---------------------------------------------------------------------------------------------


async def _in_turn(rounds: int, things: Mapping[str, Any], once: Callable[..., Any], *arguments: Any) -> Medians:
    """Measure each thing in turn, after a first time that does not count."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in things}
    for number in range(rounds + 1):
        for name, thing in things.items():
            figures = await once(thing, *arguments)
            if number:
                runs[name].append(figures)
    return {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in runs.items()}


async def _cost(thing: Any, work: Callable[..., Awaitable[Any]], *arguments: Any) -> tuple[float, float]:
    """Return the CPU and wall time of some work, in milliseconds; CPU of all threads."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await work(thing, *arguments)
    return (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000


async def _async(model: Any) -> tuple[float, float]:
    """Make a call; return the milliseconds to the first token and to the last."""
    return await _first_and_last(model.astream(_QUESTION))


async def _sync(model: Any) -> tuple[float, float]:
    """Make a sync call, in a thread; return as `_async` does."""
    return await asyncio.to_thread(_first_and_last_sync, model)


async def _first_and_last(chunks: AsyncIterator[Any]) -> tuple[float, float]:
    started, first = time.perf_counter(), 0.0
    async for _ in chunks:
        first = first or time.perf_counter() - started
    return first * 1000, (time.perf_counter() - started) * 1000


def _first_and_last_sync(model: Any) -> tuple[float, float]:
    started, first = time.perf_counter(), 0.0
    for _ in model.stream(_QUESTION):
        first = first or time.perf_counter() - started
    return first * 1000, (time.perf_counter() - started) * 1000


async def _at_once(model: Any, calls: int) -> None:
    await asyncio.gather(*(_async(model) for _ in range(calls)))


async def _at_once_sync(model: Any, calls: int) -> None:
    with ThreadPoolExecutor(calls) as pool:
        await asyncio.to_thread(list, pool.map(_first_and_last_sync, [model] * calls))


async def _one_by_one(model: Any, calls: int) -> None:
    for _ in range(calls):
        await _async(model)


async def _one_by_one_sync(model: Any, calls: int) -> None:
    for _ in range(calls):
        _first_and_last_sync(model)


# -- The parts ------------------------------------------------------------------------------------------------------


async def construction() -> list[Row]:
    """Seven models from strings: the first time in a process, which loads what is loaded late, and later."""
    names = [f"model-{number}" for number in range(7)]
    builders: dict[str, Callable[[], Any]] = {
        "ours": lambda: ChatMoA(proposers=list(map(on_together, names[:6])), aggregator=on_together(names[6])),
        "bare": lambda: [ChatTogether(model=name) for name in names],
    }

    def seconds(build: Callable[[], Any]) -> float:
        started = time.perf_counter()
        build()
        return time.perf_counter() - started

    first = {name: seconds(build) * 1000 for name, build in builders.items()}
    later = {name: median(seconds(build) for _ in range(9)) * 1000 for name, build in builders.items()}
    return [
        Row("building 6 proposers and an aggregator from strings, first", "ms", first["ours"], first["bare"], "x"),
        Row("the same, later", "ms", later["ours"], later["bare"], "=", bar=20),
    ]


async def latency() -> list[Row]:
    """One call at a time: what it takes longer, in all and to the first token."""
    rows = []
    for layers, way, once, bars in (
        (1, "async", _async, (1, 1.5)),
        (3, "async", _async, (17, 17)),
        (1, "sync", _sync, (9, 9)),
        (3, "sync", _sync, (None, None)),
    ):
        both = over_http(
            layers=layers, proposers=4, proposer="proposer?ttft=40&n=50", aggregator="aggregator?ttft=20&itl=2&n=20"
        )
        got = await _in_turn(40, both, once)
        for place, name in enumerate(("first token", "whole answer")):
            what = f"{way}, 4 proposers x {layers}: {name}"
            rows.append(Row(what, "ms", got["ours"][place], got["bare"][place], "+", bars[place]))
    return rows


async def waves() -> list[Row]:
    """Sync calls of many proposers of 100 ms: a second wave would take 100 ms more."""
    rows = []
    for proposers in (6, 12, 34):
        got = await _in_turn(7, in_process(layers=1, proposers=proposers, seconds=0.1), _sync)
        rows.append(Row(f"sync, {proposers} proposers of 100 ms", "ms", got["ours"][1], got["bare"][1], "+", bar=50))
    return rows


async def concurrency() -> list[Row]:
    """Many async calls at once, 4 proposers x 1: CPU per call, and wall time."""
    return await _concurrency("async", _at_once, {1: 10, 10: 5, 100: 7})


async def sync_concurrency() -> list[Row]:
    """Many sync calls at once, each from a thread."""
    return await _concurrency("sync", _at_once_sync, {1: 10, 10: 5, 100: 7})


async def crowd() -> list[Row]:
    """Very many async calls at once."""
    return await _concurrency("async", _at_once, {500: 2, 1000: 1})


async def _concurrency(way: str, work: Callable[..., Awaitable[None]], rounds: Mapping[int, int]) -> list[Row]:
    """Measure numbers of calls at once, each for so many rounds."""
    models = {
        "proposers": 4,
        "proposer": "proposer?ttft=250&n=50",
        "aggregator": "aggregator?ttft=50&itl=5&n=50",
    }
    contenders = over_http(layers=1, **models) | others_over_http(**models)
    if way == "sync":
        del contenders["mixture-llm"]
    rows = []
    for calls, times in rounds.items():
        got = await _in_turn(times, contenders, _cost, work, calls)
        cpu, wall = got.pop("ours")
        for name, (its_cpu, its_wall) in got.items():
            against = "" if name == "bare" else f", against {name}"
            bars = _CPU_BARS.get((way, calls, name)), _WALL_BARS.get((way, calls, name))
            what = f"{way}, {calls} at once{against}"
            rows.append(Row(f"{what}: CPU per call", "ms", cpu / calls, its_cpu / calls, "x", bars[0]))
            rows.append(Row(f"{what}: wall", "ms", wall, its_wall, "x", bars[1]))
    return rows


_CPU_BARS = {
    ("async", 1, "bare"): 0.7,
    ("async", 10, "bare"): 0.55,
    ("async", 100, "bare"): 0.4,
    ("async", 500, "bare"): 0.4,
    ("sync", 10, "bare"): 0.85,
    ("sync", 100, "bare"): 0.7,
    ("async", 100, "mixture-llm"): 1,
}
_WALL_BARS = {("async", 1000, "bare"): 0.42}


async def in_process_cost() -> list[Row]:
    """Models that answer at once: what the graph and the chat model around it cost."""
    rows = []
    for proposers, layers, bar in ((4, 1, 2.2), (6, 3, 6)):
        for way, work, at_most in (("async", _one_by_one, bar), ("sync", _one_by_one_sync, None)):
            got = await _in_turn(11, in_process(layers=layers, proposers=proposers), _cost, work, 30)
            what = f"{way}, {proposers} proposers x {layers}, no latency: CPU"
            rows.append(Row(what, "ms", got["ours"][0] / 30, got["bare"][0] / 30, "+", at_most))
    return rows


async def tokens() -> list[Row]:
    """What a streamed token costs, directly and inside an outer LangGraph's messages stream."""
    used: dict[str, list[float]] = {}
    for count in (1, 401):
        aggregator = f"aggregator?n={count}&itl=2"
        models = {
            "ours": ChatMoA(proposers=[on_together("proposer?n=5")], aggregator=on_together(aggregator)),
            "bare": ChatTogether(model=aggregator),
        }
        for way, things in (("direct", models), (_OUTER, {name: Outer(model) for name, model in models.items()})):
            for name, (cpu, _wall) in (await _in_turn(11, things, _cost, _async)).items():
                used.setdefault(f"{way} {name}", []).append(cpu)
    per_token = {name: (many - one) / 400 * 1000 for name, (one, many) in used.items()}
    return [
        Row(f"CPU per streamed token, {way}", "us", per_token[f"{way} ours"], per_token[f"{way} bare"], "x", bar)
        for way, bar in (("direct", 0.45), (_OUTER, 0.5))
    ]


_OUTER = "inside an outer graph's messages stream"


async def long_proposals() -> list[Row]:
    """Six proposals of 8,000 tokens: with a listener against without, then over three layers against bare."""
    models = {"proposers": 6, "proposer": "proposer?n=8000", "aggregator": "aggregator?n=16"}
    ours = over_http(layers=1, **models)["ours"]
    ways = {"": ours, "astream_events": Listened(ours), "an outer messages stream": Outer(ours)}
    got = await _in_turn(15, ways, _cost, _async)
    alone = got.pop("")[0]
    rows = [
        Row(f"6 x 8,000 tokens under {way}, against no listener: CPU", "ms", figures[0], alone, "x", bar=1.2)
        for way, figures in got.items()
    ]
    for way, once, bars in (("async", _async, (None, None)), ("sync", _sync, (1, None))):
        got = await _in_turn(7, over_http(layers=3, **models), _cost, once)
        for place, name in enumerate(("CPU", "wall")):
            what = f"{way}, 6 x 8,000 tokens x 3: {name}"
            rows.append(Row(what, "ms", got["ours"][place], got["bare"][place], "x", bars[place]))
    return rows


async def imports() -> list[Row]:
    """CPU of a fresh interpreter that imports us, against what we are made of."""
    parts = "import langchain_together, langgraph.graph"
    # "No dearer", and five percent for noise.
    bars = {
        "import langchain_moa": 1.05,
        "from langchain_moa import ChatMoA": 1.05,
        "from langchain_moa import ChatMoA; ChatMoA(proposers=['together:a'], aggregator='together:b')": None,
    }

    async def once(statement: str) -> tuple[float, float]:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", statement])
        _, process.returncode, used = os.wait4(process.pid, 0)
        return (used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - started) * 1000

    got = await _in_turn(7, {statement: statement for statement in ("pass", parts, *bars)}, once)
    cpu = {statement: figures[0] - got["pass"][0] for statement, figures in got.items()}
    return [Row(f"`{it}`, against `{parts}`: CPU", "ms", cpu[it], cpu[parts], "x", bar) for it, bar in bars.items()]


async def memory() -> list[Row]:
    """Memory per call in flight, each in a process of its own, and what a finished call leaves behind."""
    used = {}
    for name in ("ours", "bare"):
        command = [sys.executable, "-m", "tests.benchmarks.overhead", "--in-flight", name]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
        used[name] = median(map(float, runs))
    kept = {name: await _kept(model) for name, model in in_process(layers=1, proposers=4).items()}
    return [
        Row("memory per call in flight, of 100", "MB", used["ours"], used["bare"], "=", bar=0.25),
        # Nothing, and a few bytes for the measurement's own.
        Row("memory kept per finished call", "KB", kept["ours"], kept["bare"], "=", bar=0.1),
    ]


async def _kept(model: Any) -> float:
    async def after(calls: int) -> int:
        await _one_by_one(model, calls)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    grown = -await after(50) + await after(300)
    tracemalloc.stop()
    return grown / 300 / 1000


async def in_flight(name: str) -> float:
    """Return the MB by which the process grows per call, at its largest, while 100 calls are answered."""
    model = over_http(
        layers=1, proposers=4, proposer="proposer?ttft=2000&n=500", aggregator="aggregator?ttft=500&itl=5&n=50"
    )[name]
    await _at_once(model, 3)
    gc.collect()
    before = largest = _rss()
    calls = asyncio.create_task(_at_once(model, 100))
    while not calls.done():
        largest = max(largest, _rss())
        await asyncio.sleep(0.02)
    await calls
    return (largest - before) / 100


def _rss() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -- What is printed ------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "construction": construction,
    "latency": latency,
    "waves": waves,
    "concurrency": concurrency,
    "sync-concurrency": sync_concurrency,
    "crowd": crowd,
    "in-process": in_process_cost,
    "tokens": tokens,
    "long": long_proposals,
    "import": imports,
    "memory": memory,
}


def measure(parts: list[str]) -> list[Row]:
    """Measure some parts, each in a process of its own.

    What one leaves behind, thousands of open connections for one, the garbage collector would look through in the next.
    """
    if len(parts) == 1:
        with LoadServer() as url:
            os.environ.update(TOGETHER_API_KEY="k", TOGETHER_API_BASE=url)
            return asyncio.run(PARTS[parts[0]]())
    rows: list[Row] = []
    for part in parts:
        print(f"{part} …", file=sys.stderr)
        command = [sys.executable, "-m", "tests.benchmarks.overhead", "--json", "--only", part]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows += [Row(**{name: row[name] for name in Row.__match_args__}) for row in measured]
    return rows


def _print_table(rows: list[Row]) -> None:
    print("| what | unit | ours | bare | measured | bar | |\n| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:g}"
        measured = f"{row.measured:+.2f}" if row.figure == "+" else f"{'x ' * (row.figure == 'x')}{row.measured:.2f}"
        print(f"| {row.what} | {row.unit} | {row.ours:.2f} | {row.bare:.2f} | {measured} | {bar} | {row.verdict} |")


def main() -> None:
    """Measure the parts that are asked for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[part for part in PARTS if part != "crowd"])
    parser.add_argument("--large", action="store_true", help="the crowd too, 500 and 1000 calls at once: minutes more")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--in-flight", choices=("ours", "bare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.in_flight:
        print(asyncio.run(in_flight(options.in_flight)))
        return
    rows = measure([*options.only, *(["crowd"] if options.large else [])])
    if options.json:
        print(json.dumps([{**vars(row), "measured": row.measured, "verdict": row.verdict} for row in rows], indent=1))
    else:
        _print_table(rows)


if __name__ == "__main__":
    main()
