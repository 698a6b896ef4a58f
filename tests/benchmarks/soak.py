"""Soak: thousands of calls, sync and async, in processes of which one is forked while its parent is busy.

Models fail and hang, and callers leave; nothing may hang, be wrong, get lost, reach another caller, or be left behind.

uv run python -m tests.benchmarks.soak [--calls 20000] [--at-once 200] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks

from langchain_moa import ChatMoA, MoAError
from langchain_moa._runtime.turn_references import turn_references
from tests.benchmarks.load_server import LoadServer
from tests.lateness import Lateness
from tests.threads_in_use import threads_in_use

_FAULTS = "500,503,429,drop,hang,stall,disconnect,malformed,empty,null"
_PROPOSER = f"together:proposer?echo=last&ttft=20&fault={_FAULTS}&p=0.2&slow=0.05&slow_ttft=500&number="
_AGGREGATOR = "together:aggregator?echo=all&ttft=20&fault=500,drop,disconnect,hang&p=0.01"
_PROPOSERS = 4

_PROCESSES = 4
"""The last is forked from the first."""
_FORKS_AFTER = 0.05
"""The share of its calls after which the first process forks."""

_DEADLINE = 20
_TOLERANCE = 0.25
"""Seconds by which a call may miss its deadline, not counting those that the process was late."""
_HANGS_AFTER = 2 * _DEADLINE
_IDLE_CONNECTION = 30
"""Seconds after which the pool drops a connection that nobody uses."""
_IDLE_THREAD = 5
"""Seconds after which a thread without work ends."""

_GIVES_UP = 3600
"""Seconds after which a process that hangs is ended."""

_LEAVES_EVERY = 10
"""One caller in so many goes away: after 0.3 s, or at the first token of its stream."""

_TIMES = (0.05, 0.25, 0.5, 0.75, 1)
"""Shares of the calls after which the table shows what a process holds."""

_KEPT = {"tasks": 1, "threads": 0, "descriptors": 12, "turns": 1024}
"""What a process may hold at the end, more than at its start: what a call or two leave idle."""


class Soak:
    """The calls of one process, and what they came to."""

    def __init__(self, name: str, model: ChatMoA, *, calls: int, at_once: int) -> None:
        self.name = name
        self.model = model
        self.calls = calls
        self.at_once = at_once
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.overdue: list[tuple[float, float, str]] = []
        """Of what came after the deadline: by how many seconds, by how many not counting lateness, and what it was."""
        self.samples: list[tuple[int, float, int, int]] = []
        """Calls done, RSS in MB, descriptors, threads: taken once a second."""
        self._lock = threading.Lock()
        self._lateness = Lateness()
        self._tasks_left = 0

    def run(self, fork_into: Path | None = None) -> dict[str, Any]:
        """Make the calls, half of them sync and half async, at the same time.

        Args:
            fork_into: Fork in the midst of it; the child makes as many calls and writes what they came to there.
        """
        started, cpu = time.perf_counter(), time.process_time()
        held = _held()
        child = 0
        done = threading.Event()
        halves = threading.Thread(target=self._both_halves, args=(done,), name="halves")
        halves.start()
        with self._lateness:
            while not done.wait(1):
                self.samples.append((self.outcomes.total(), _rss(), _descriptors(), threading.active_count()))
                if fork_into and not child and self.outcomes.total() >= self.calls * _FORKS_AFTER:
                    child = _fork(self, fork_into)
                if len(self.samples) % 20 == 0:
                    print(f"{self.name}: {self.samples[-1]}", dict(self.outcomes), file=sys.stderr)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        halves.join()
        # One call has the pool look for what is idle.
        with contextlib.suppress(MoAError, ModelError):
            self.model.invoke("<idle>")
        time.sleep(_IDLE_THREAD + 1)
        gc.collect()
        left = {name: number - held[name] for name, number in _held().items()} | {"tasks": self._tasks_left}
        if child:
            os.waitpid(child, 0)
        return {
            "name": self.name,
            "outcomes": dict(self.outcomes),
            "statuses": dict(self.statuses),
            "seconds": self.seconds,
            "overdue": self.overdue,
            "samples": self.samples,
            "left": left,
            "wall": wall,
            "cpu": cpu,
        }

    def _both_halves(self, done: threading.Event) -> None:
        numbers = count()
        with ThreadPoolExecutor(self.at_once // 2) as pool:
            sync = [pool.submit(self._call, number) for number in _first(self.calls // 2, numbers)]
            asyncio.run(self._async_half(list(_first(self.calls - self.calls // 2, numbers)), sync, done))

    async def _async_half(self, numbers: list[int], sync: list[Any], done: threading.Event) -> None:
        waiting = iter(numbers)

        async def worker() -> None:
            for number in waiting:
                await self._acall(number)

        await asyncio.gather(*(worker() for _ in range(self.at_once - self.at_once // 2)))
        while not all(future.done() for future in sync):
            await asyncio.sleep(0.2)
        for future in sync:
            future.result()
        done.set()
        await asyncio.sleep(_IDLE_CONNECTION + 1)
        with contextlib.suppress(MoAError, ModelError):
            await self.model.ainvoke("<idle>")
        await asyncio.sleep(1)
        self._tasks_left = len(asyncio.all_tasks())

    def _call(self, number: int) -> None:
        """Make a sync call; whoever leaves does so at the first token."""
        leaves, asked = number % _LEAVES_EVERY == 0, f"{self.name}-{number}"
        way = "stream" if leaves or number % 2 else "invoke"
        started = self._now()
        answer: AIMessage | AIMessageChunk | None = None
        try:
            if leaves:
                stream = self.model.stream(f"<{asked}>")
                next(stream)
                stream.close()  # type: ignore[attr-defined]
            elif number % 2:
                answer = add_ai_message_chunks(*self.model.stream(f"<{asked}>"))
            else:
                answer = self.model.invoke(f"<{asked}>")
        except Exception as error:
            self._note(_error(error), way, started)
        else:
            self._note(self._judge(answer, asked) if answer else "caller left", way, started)

    async def _acall(self, number: int) -> None:
        leaves, asked = number % _LEAVES_EVERY == 0, f"{self.name}-{number}"
        way = "astream" if number % 2 else "ainvoke"
        started = self._now()
        try:
            async with asyncio.timeout(0.3 if leaves else _HANGS_AFTER) as patience:
                if number % 2:
                    chunks = [chunk async for chunk in self.model.astream(f"<{asked}>")]
                    answer: AIMessage | AIMessageChunk = add_ai_message_chunks(*chunks)
                else:
                    answer = await self.model.ainvoke(f"<{asked}>")
        except Exception as error:
            if patience.expired():
                self._note("caller left" if leaves else "HUNG", way, started)
            else:
                self._note(_error(error), way, started)
        else:
            self._note(self._judge(answer, asked), way, started)

    def _judge(self, answer: AIMessage | AIMessageChunk, asked: str) -> str:
        """Check the echo: this call's question, and each proposal that counts, and nothing of another call."""
        calls = answer.response_metadata["moa"]["layers"][0]
        with self._lock:
            self.statuses.update(call["status"] for call in calls)
        references = sum(call["status"] == "ok" for call in calls)
        echo = re.findall(r"<([\w-]+)>", answer.text)
        if set(echo) - {asked}:
            return f"FOREIGN: {asked} got {echo}"
        return "answer" if echo == [asked] * (references + 1) else f"WRONG: {asked} got {echo}"

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), self._lateness.seconds

    def _note(self, outcome: str, way: str, started: tuple[float, float]) -> None:
        seconds, late = (now - before for now, before in zip(self._now(), started, strict=True))
        with self._lock:
            self.outcomes["HUNG" if seconds > _HANGS_AFTER else outcome] += 1
            if outcome == "answer":
                self.seconds.append(seconds)
            if (over := seconds - _DEADLINE) > _TOLERANCE:
                self.overdue.append((round(over, 2), round(over - late, 2), f"{way}: {outcome}"))


def _error(error: Exception) -> str:
    return f"error: {type(error).__name__}" if isinstance(error, MoAError | ModelError) else f"UNTYPED: {error!r}"


def _first(number: int, numbers: Iterator[int]) -> Iterator[int]:
    return (next(numbers) for _ in range(number))


def _fork(parent: Soak, into: Path) -> int:
    """Fork. The child goes on with the parent's model, whose connections it must not use."""
    if pid := os.fork():
        return pid
    try:
        signal.alarm(_GIVES_UP)  # the parent's faulthandler has no thread here
        child = Soak(f"{parent.name}-forked", parent.model, calls=parent.calls, at_once=parent.at_once)
        into.write_text(json.dumps(child.run()))
    finally:
        os._exit(0)


def _held() -> dict[str, int]:
    return {
        "threads": len(threads_in_use()),
        "descriptors": _descriptors(),
        "turns": len(turn_references._kept),
    }


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _rss() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _model() -> ChatMoA:
    return ChatMoA(
        proposers=[_PROPOSER + str(number) for number in range(_PROPOSERS)],
        aggregator=_AGGREGATOR,
        timeout=3,
        quorum=3,
        grace=0.2,
        min_references=2,
        deadline=_DEADLINE,
        fan_out="user_turn",  # so that the cache of turns is used, and may not grow
    )


def soak(total: int, at_once: int) -> list[dict[str, Any]]:
    """Make `total` calls in all processes together."""
    with LoadServer() as url, tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.json") for number in range(_PROCESSES)]
        command = [sys.executable, "-m", "tests.benchmarks.soak"]
        command += ["--calls", str(total // _PROCESSES), "--at-once", str(at_once // _PROCESSES), "--process"]
        environment = {**os.environ, "TOGETHER_API_KEY": "k", "TOGETHER_API_BASE": url}
        running = [
            subprocess.Popen(
                [*command, f"p{number}", str(path), *([str(paths[-1])] if number == 0 else [])], env=environment
            )
            for number, path in enumerate(paths[:-1])
        ]
        if any([process.wait() for process in running]):
            sys.exit("A process of the soak has failed.")
        return [json.loads(path.read_text()) for path in paths if path.exists()]


def figures(total: int, at_once: int, runs: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return the figures, and what is wrong with them."""
    outcomes, statuses = Counter[str](), Counter[str]()
    bad: list[str] = []
    memory: dict[str, str] = {}
    course: dict[str, str] = {}
    for run in runs:
        outcomes.update(run["outcomes"])
        statuses.update(run["statuses"])
        bad += [f"{run['name']} keeps {number} {what}" for what, number in run["left"].items() if number > _KEPT[what]]
        # What is loaded and pooled in the first third of the calls may stay.
        done = run["samples"][-1][0]
        early = [sample for sample in run["samples"] if done / 3 <= sample[0] < done * 2 / 3]
        late = [sample for sample in run["samples"] if sample[0] >= done * 2 / 3]
        for place, what in ((1, "RSS MB"), (2, "descriptors"), (3, "threads")):
            before, after = (max((sample[place] for sample in part), default=0) for part in (early, late))
            if before and after > before * (1.05 if place == 1 else 1.2) + 4:
                bad.append(f"{run['name']}: {what} grew from {before:.0f} to {after:.0f}")
            memory[f"{run['name']} {what}"] = f"{before:.0f} then {after:.0f}"
            at = [min(run["samples"], key=lambda one, share=share: abs(one[0] - done * share)) for share in _TIMES]
            course[f"{run['name']} {what}"] = ", ".join(f"{one[place]:.0f}" for one in at)
    if lost := total // _PROCESSES * _PROCESSES - outcomes.total():
        bad.append(f"{lost} calls lost")
    bad += [outcome for outcome in outcomes if outcome.startswith(("HUNG", "UNTYPED", "WRONG", "FOREIGN"))]
    overdue = sorted((tuple(one) for run in runs for one in run["overdue"]), key=lambda one: -one[1])
    bad += [
        f"{over} s after the deadline, {own} s without lateness: {what}"
        for over, own, what in overdue
        if own > _TOLERANCE
    ]
    seconds = sorted(second for run in runs for second in run["seconds"])
    return {
        "calls": total,
        "at once": at_once,
        "outcomes": dict(outcomes.most_common()),
        "proposer calls of the answers": dict(statuses.most_common()),
        "seconds per answer, p50 / p95 / max": " / ".join(
            f"{seconds[min(int(len(seconds) * q), len(seconds) - 1)]:.1f}" for q in (0.5, 0.95, 1)
        ),
        "after the deadline": f"{len(overdue)}; by at most {max(o[0] for o in overdue) if overdue else 0} s",
        "the same without lateness": f"{max(0, overdue[0][1]) if overdue else 0} s",
        "wall seconds of the calls": round(max(run["wall"] for run in runs)),
        "CPU ms per call": round(sum(run["cpu"] for run in runs) / total * 1000, 1),
        f"after {', '.join(f'{share:.0%}' for share in _TIMES)} of the calls": course,
        "largest in the second and in the last third": memory,
        "left, more than at the start": {run["name"]: run["left"] for run in runs},
    }, bad


def main() -> int:
    """Run it, print the figures, and tell by the exit code whether all checks hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--process", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(_GIVES_UP, exit=True)
    faulthandler.register(signal.SIGUSR1)  # shows where each thread is, also in the forked process
    if options.process:
        logging.disable(logging.ERROR)  # each fault is one
        name, into, *fork_into = options.process
        run = Soak(name, _model(), calls=options.calls, at_once=options.at_once)
        Path(into).write_text(json.dumps(run.run(Path(*fork_into) if fork_into else None)))
        return 0
    measured, bad = figures(options.calls, options.at_once, soak(options.calls, options.at_once))
    if options.json:
        print(json.dumps({**measured, "failed checks": bad}, indent=1))
    else:
        packages = ("langchain-core", "langgraph", "langchain-together", "openai", "httpx", "aiohttp")
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}.\n")
        print("| what | measured |\n| --- | --- |")
        for name, value in measured.items():
            pairs = value.items() if isinstance(value, dict) else ()
            print(f"| {name} | {'; '.join(f'{k}: {v}' for k, v in pairs) or value} |")
        print(f"\n{'FAILED: ' + '; '.join(bad) if bad else 'All checks hold.'}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
