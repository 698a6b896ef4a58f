"""Soak: thousands of calls while proposers fail and hang; nothing may hang, be wrong, or be left behind.

python -m tests.benchmarks.soak [--calls 10000] [--at-once 200] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import json
import logging
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks

from langchain_moa import ChatMoA, MoAError
from langchain_moa._runtime.turn_references import Turns
from tests.benchmarks.load_server import LoadServer

_FAULTS = "500,503,429,drop,hang,stall,disconnect,malformed,empty,null"
_PROPOSER = f"proposer?echo=last&ttft=20&fault={_FAULTS}&p=0.2&slow=0.05&slow_ttft=2000&number="
_AGGREGATOR = "aggregator?echo=all&ttft=20&fault=500,drop,disconnect,hang&p=0.01"
_PROPOSERS = 4

_FIRST = 500
"""Calls after which nothing may be added any more."""

_DEADLINE = 40
_HANGS_AFTER = 2 * _DEADLINE
_IDLE_CONNECTION = 30
"""Seconds after which the pool drops a connection that nobody uses."""

_WALKS_AWAY_EVERY = 40


@dataclass
class Soak:
    """What the calls came to, and what the process held at times."""

    model: ChatMoA
    at_once: int
    total: int
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    rss: list[tuple[int, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def run(self, numbers: Iterator[int]) -> None:
        """Make the calls, so many at once."""

        async def worker() -> None:
            for number in numbers:
                await self._call(number)
                if (done := self.outcomes.total()) % (self.total // 20) == 0:
                    self.rss.append((done, _rss()))
                    print(f"{done} calls, RSS {_rss():.0f} MB", dict(self.outcomes), file=sys.stderr)

        await asyncio.gather(*(worker() for _ in range(self.at_once)))

    async def left(self) -> dict[str, int]:
        """Count what the process holds when nothing is going on, and idle connections have been dropped."""
        await asyncio.sleep(_IDLE_CONNECTION + 1)
        await self.model.ainvoke("One call has the pool look for what is idle.")
        await asyncio.sleep(1)
        gc.collect()
        turns = [held for held in gc.get_referrers(Turns) if isinstance(held, Turns)]
        return {
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "file descriptors": len(os.listdir("/proc/self/fd")),
            "turns kept": sum(len(held._turns) for held in turns),
        }

    async def _call(self, number: int) -> None:
        started = time.perf_counter()
        walks_away = number % _WALKS_AWAY_EVERY == 0
        try:
            async with asyncio.timeout(0.3 if walks_away else _HANGS_AFTER) as patience:
                answer = await self._ask(f"<{number}>", streamed=number % 2 == 0)
        except (MoAError, ModelError) as error:
            outcome = f"error: {type(error).__name__}"
        except TimeoutError as error:
            outcome = "caller went away" if walks_away else "HUNG" if patience.expired() else f"UNTYPED: {error!r}"
        except Exception as error:
            outcome = f"UNTYPED: {error!r}"
        else:
            outcome = "answer" if self._is_right(answer, number) else "WRONG"
            self.seconds.append(time.perf_counter() - started)
        self.outcomes[outcome] += 1

    async def _ask(self, question: str, *, streamed: bool) -> AIMessage | AIMessageChunk:
        if not streamed:
            return await self.model.ainvoke(question)
        return add_ai_message_chunks(*[chunk async for chunk in self.model.astream(question)])

    def _is_right(self, answer: AIMessage | AIMessageChunk, number: int) -> bool:
        """Check the echo: this call's question, and each proposal that counts, and nothing of another call."""
        calls = answer.response_metadata["moa"]["layers"][0]
        self.statuses.update(call["status"] for call in calls)
        references = sum(call["status"] == "ok" for call in calls)
        return re.findall(r"<(\d+)>", answer.text) == [str(number)] * (references + 1)


def _rss() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def soak(total: int, at_once: int) -> tuple[dict[str, object], list[str]]:
    """Make `total` calls.

    Returns:
        The figures, and what is wrong with them.
    """
    model = ChatMoA(
        proposers=[_PROPOSER + str(number) for number in range(_PROPOSERS)],
        aggregator=_AGGREGATOR,
        timeout=10,
        quorum=3,
        grace=0.2,
        min_references=2,
        deadline=_DEADLINE,
        fan_out="user_turn",  # so that the cache of turns is used, and may not grow
    )
    run = Soak(model=model, at_once=at_once, total=total)
    numbers = count(1)
    started, cpu = time.perf_counter(), time.process_time()
    await run.run(number for _, number in zip(range(_FIRST), numbers, strict=False))
    before = await run.left()
    await run.run(number for _, number in zip(range(total - _FIRST), numbers, strict=False))
    after = await run.left()

    bad = [outcome for outcome in run.outcomes if outcome.startswith(("HUNG", "UNTYPED", "WRONG"))]
    bad += [f"{name}: {before[name]} grew to {after[name]}" for name in before if after[name] > before[name]]
    settled = [rss for done, rss in run.rss if done >= 2 * _FIRST]
    if settled and settled[-1] > settled[0] * 1.05:
        bad.append(f"RSS grew from {settled[0]:.0f} to {settled[-1]:.0f} MB")
    seconds = sorted(run.seconds)
    figures = {
        "calls": total,
        "at once": at_once,
        "outcomes": dict(run.outcomes.most_common()),
        "proposer calls of the answers": dict(run.statuses.most_common()),
        "seconds per answer, p50 / p95 / max": [round(seconds[int(len(seconds) * q)], 2) for q in (0.5, 0.95)]
        + [round(seconds[-1], 2)],
        "wall seconds": round(time.perf_counter() - started),
        "CPU ms per call": round((time.process_time() - cpu) / total * 1000, 1),
        f"left after {_FIRST} calls": before,
        f"left after {total} calls": after,
        "RSS MB": {done: round(rss) for done, rss in run.rss},
    }
    return figures, bad


def main() -> int:
    """Run it, print the figures, and tell by the exit code whether all checks hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # each fault is one
    faulthandler.dump_traceback_later(3600, exit=True)
    with LoadServer() as url:
        os.environ.update(TOGETHER_API_KEY="k", TOGETHER_API_BASE=url)
        figures, bad = asyncio.run(soak(options.calls, options.at_once))
    if options.json:
        print(json.dumps({**figures, "failed checks": bad}, indent=1))
    else:
        print("| what | measured |\n| --- | --- |")
        for name, value in figures.items():
            pairs = value.items() if isinstance(value, dict) else ()
            print(f"| {name} | {', '.join(f'{k}: {v}' for k, v in pairs) or value} |")
        print(f"\n{'FAILED: ' + '; '.join(bad) if bad else 'All checks hold.'}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
