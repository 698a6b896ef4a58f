"""What `moa serve` costs beside the `ChatMoA` inside it: many streams at once, measured in turn (A B A B) in one run.

python -m tests.benchmarks.serving [--clients N ...] [--rounds N] [--served-only] [--json]
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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import aiohttp

from langchain_moa import ChatMoA
from tests.benchmarks.load_server import LoadServer

_QUESTION = "What is a monad?"
_PROPOSERS = [f"together:proposer?ttft=250&n=50&number={number}" for number in range(4)]
_AGGREGATOR = "together:aggregator?ttft=50&itl=5&n=50"

# By clients, what a request may cost beside the same one asked of the model.
_CPU_BARS = {100: 1.1}

# Seconds; far more than one wave of requests takes on a busy machine.
_TIMEOUT = 600


class Times(NamedTuple):
    """Seconds that one stream took."""

    first: float
    whole: float


@dataclass
class Measured:
    """What several waves of requests gave."""

    cpu: list[float] = field(default_factory=list)
    """Seconds per request, by wave."""

    times: list[Times] = field(default_factory=list)

    rates: list[float] = field(default_factory=list)
    """Requests per second, by wave."""

    memory: float = 0
    """MB that the server's process had at most, since its start."""

    def percentile(self, name: str, percent: int) -> float:
        """Return a percentile of all requests, in seconds."""
        seconds = sorted(getattr(times, name) for times in self.times)
        return quantiles(seconds, n=100, method="inclusive")[percent - 1] if len(seconds) > 1 else seconds[0]


Ask = Callable[[], Awaitable[Times]]
Clock = Callable[[], float]


@contextmanager
def serving(clients: int) -> Iterator[tuple[str, int]]:
    """Run `moa serve`; give its address and the id of its process."""
    moa = Path(sys.executable).with_name("moa")
    mixture = ["--reference-models", ",".join(_PROPOSERS), "--aggregator", _AGGREGATOR]
    command = [moa, "serve", "--port", "0", "--max-concurrency", str(clients), *mixture]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        address = process.stderr.readline().split()[2]
        # Its log is as long as the run, and a pipe that is full would stop it.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()
            drain.wait()


def cpu_of(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def ask_server(session: aiohttp.ClientSession, address: str) -> Times:
    """Stream an answer from the server, as a client that does nothing with it."""
    body = {"model": "moa-1", "messages": [{"role": "user", "content": _QUESTION}], "stream": True}
    started, first, last = time.perf_counter(), 0.0, b""
    async with session.post(f"{address}/chat/completions", json=body) as response:
        response.raise_for_status()
        async for part in response.content.iter_any():
            first = first or time.perf_counter() - started
            last = part
    assert last.endswith(b"data: [DONE]\n\n"), last
    return Times(first, time.perf_counter() - started)


async def ask_model(model: ChatMoA) -> Times:
    """Stream an answer from the model itself."""
    started, first = time.perf_counter(), 0.0
    async for chunk in model.astream(_QUESTION):
        if chunk.text:
            first = first or time.perf_counter() - started
    return Times(first, time.perf_counter() - started)


async def wave(ask: Ask, clock: Clock, clients: int, into: Measured) -> None:
    """Ask so many times at once."""
    gc.collect()
    used, started = clock(), time.perf_counter()
    async with asyncio.timeout(_TIMEOUT):
        into.times += await asyncio.gather(*(ask() for _ in range(clients)))
    into.rates.append(clients / (time.perf_counter() - started))
    into.cpu.append((clock() - used) / clients)


async def measure(sizes: list[int], rounds: int, *, served_only: bool) -> dict[int, dict[str, Measured]]:
    """Measure both, or the server alone, for each number of clients, after a first wave that does not count."""
    model = ChatMoA(proposers=list(_PROPOSERS), aggregator=_AGGREGATOR)
    results: dict[int, dict[str, Measured]] = {}
    connector = aiohttp.TCPConnector(limit=0)
    with serving(max(sizes)) as (address, pid):
        async with aiohttp.ClientSession(connector=connector) as session:
            ways: dict[str, tuple[Ask, Clock]] = {
                "served": (lambda: ask_server(session, address), lambda: cpu_of(pid)),
                "direct": (lambda: ask_model(model), time.process_time),
            }
            if served_only:
                del ways["direct"]
            await asyncio.gather(*(ask() for ask, _ in ways.values()))
            # As the server does.
            gc.collect()
            gc.freeze()
            for clients in sizes:
                print(f"{clients} clients …", file=sys.stderr)
                results[clients] = {name: Measured() for name in ways}
                for number in range(rounds + 1):
                    for name, (ask, clock) in ways.items():
                        await wave(ask, clock, clients, results[clients][name] if number else Measured())
                results[clients]["served"].memory = memory_of(pid)
    return results


def to_rows(results: dict[int, dict[str, Measured]]) -> list[dict[str, float | str]]:
    """Return one row per figure: of the server, of the model itself where it was measured, and their ratio."""
    figures: dict[str, Callable[[Measured], float]] = {"CPU per request": lambda measured: median(measured.cpu)}
    for name, what in (("first", "first token"), ("whole", "whole answer")):
        for percent in (50, 95, 99):
            figures[f"{what}, p{percent}"] = lambda m, name=name, percent=percent: m.percentile(name, percent)  # type: ignore[misc]
    rows: list[dict[str, float | str]] = []
    for clients, both in results.items():
        served = both["served"]
        rows.append({"clients": clients, "what": "requests per second", "served": median(served.rates)})
        rows.append({"clients": clients, "what": "most memory, MB", "served": served.memory})
        for what, figure in figures.items():
            rows.append({"clients": clients, "what": f"{what}, ms", "served": figure(served) * 1000})
            if "direct" in both:
                direct = figure(both["direct"]) * 1000
                ratio = figure(served) * 1000 / direct if direct else 0.0
                rows[-1] |= {"direct": direct, "ratio": ratio}
                if what.startswith("CPU") and (bar := _CPU_BARS.get(clients)):
                    rows[-1] |= {"bar": bar, "verdict": "met" if ratio <= bar else "MISSED"}
    return rows


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100, 300])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--served-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with LoadServer() as url:
        os.environ.update(TOGETHER_API_KEY="k", TOGETHER_API_BASE=url)
        rows = to_rows(asyncio.run(measure(options.clients, options.rounds, served_only=options.served_only)))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("| clients | what | served | direct | ratio | bar | |\n| ---: | --- | ---: | ---: | ---: | ---: | --- |")
    for row in rows:
        direct = f"{row['direct']:.1f} | x {row['ratio']:.2f}" if "direct" in row else " | "
        bar = f"{row.get('bar', '')} | {row.get('verdict', '')}"
        print(f"| {row['clients']} | {row['what']} | {row['served']:.1f} | {direct} | {bar} |")


if __name__ == "__main__":
    main()
