"""What each fault of a provider does to a call, at each place in a mixture, in each way of asking.

uv run python -m tests.benchmarks.faults [--places judge gate] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import openai
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.tools import tool
from pydantic import SecretStr

from langchain_moa import ChatMoA, Proposer, ProposersFailedError
from langchain_moa._models.factory import build_model
from langchain_moa.exceptions import DeadlineError, EmptyAnswerError, FirstTokenTimeoutError
from langchain_moa.gates import unless_scouts_agree
from tests.benchmarks.hostile_server import BROKEN, STATUSES, HostileServer
from tests.lateness import Lateness
from tests.threads_in_use import threads_in_use

FAULTS = ("connection refused", "DNS failure", "TLS failure", *BROKEN[:7], *STATUSES, *BROKEN[7:])
WAYS = ("invoke", "ainvoke", "stream", "astream", "agent")

PLACES = {
    "proposer": "one proposer of three",
    "layer": "all proposers of layer 2",
    "judge": "judge of `select`, with a fallback",
    "gate": "a scout of the gate",
    "alone": "aggregator before its first token, without a fallback",
    "fallback": "aggregator before its first token, with a fallback",
    "midway": "aggregator after its first token, with a fallback",
}

SLOW = {"silence before headers": 1.0, "silence midway": 1.0, "one byte a second": 3.0}
"""Faults that are an end of patience, and the seconds that such a model gets for a request."""
HARMLESS = ("no usage", "no finish reason", "duplicate events", "10 MB answer")

PATIENCE = 2.5
"""Seconds that a slow aggregator gets to its first token."""
DEADLINE = 12.0
"""Seconds that a call gets whose aggregator sends a byte a second once it has begun."""
LONG = 90.0
"""Seconds that the others get, so that a busy machine makes no timeout of what is none."""

BOUND = 20.0
"""Seconds within which a cell must have ended. A few do when the machine is idle."""
AFTERWARDS = 1.0
"""Seconds after which nothing may be left of a call, not counting those that the process was late."""

_lateness = Lateness()

_LATE = (
    "reset after headers",
    *BROKEN[2:4],
    "silence midway",
    "one byte a second",
    *BROKEN[7:8],
    *BROKEN[9:11],
    "error event",
)
"""Faults that can strike a stream that has begun; the others are the same wherever they are told."""

_STATUS_ERRORS: dict[int, type[Exception]] = {
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    429: openai.RateLimitError,
}


_KEY = SecretStr("test-key")


class Cell(NamedTuple):
    """One fault at one place, asked about in one way."""

    place: str
    way: str
    fault: str

    @property
    def name(self) -> str:
        """Return what the server knows it by."""
        return f"{self.place}.{self.way}.{FAULTS.index(self.fault)}"

    @property
    def is_streamed(self) -> bool:
        """Whether the aggregator streams."""
        return self.way in ("stream", "astream")


class Result(NamedTuple):
    """What a cell came to."""

    cell: Cell
    seconds: float
    got: str
    """The error's class, or `answer`."""
    wrong: str = ""
    """What is wrong with it, if anything is."""


class Heard(NamedTuple):
    """What the caller got."""

    answer: AIMessage | None
    error: Exception | None
    chunks: list[str]


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def error_class(fault: str, *, whole: bool) -> type[Exception]:
    """Return what an aggregator's fault before the first token raises."""
    if fault in STATUSES:
        return _STATUS_ERRORS.get(STATUSES[fault][0], openai.InternalServerError)
    if fault in SLOW:
        # A stream that has its headers is not asked for again: the provider's own timeout comes first.
        return FirstTokenTimeoutError if whole or fault != "silence midway" else openai.APITimeoutError
    if fault in ("null content", "filtered"):
        return EmptyAnswerError
    if fault in ("half a body", "gzip cut off") and not whole:
        return EmptyAnswerError  # to whoever reads it, the stream just ends
    if fault in ("broken JSON", "wrong encoding", "gzip cut off"):
        return openai.APIError
    if fault in ("HTML with 200", "empty choices", "error event"):
        # Bare models raise what they stumble over: the parent process compares.
        return openai.APIError if fault == "error event" and not whole else Exception
    return openai.APIConnectionError


class Mixture:
    """The mixture of a cell, and what it has to come to."""

    def __init__(self, cell: Cell, server: HostileServer) -> None:
        self.cell = cell
        self._server = server

    def _model(self, name: str, fault: str = "none") -> BaseChatModel:
        """Return a model as `ChatMoA` builds it from a string."""
        kind = fault.removeprefix("judge:").removesuffix("+")
        return build_model(
            f"lab/{name}~{fault}~{self.cell.name}",
            temperature=None,
            max_tokens=None,
            timeout=SLOW.get(kind, LONG),
            base_url=self._server.url(kind),
            api_key=_KEY,
        )

    def bare(self) -> BaseChatModel:
        """Return what raises the errors that ours are compared with."""
        from langchain_together import ChatTogether

        model = f"lab/bad~{self.cell.fault}~{self.cell.name}"
        return ChatTogether(model=model, base_url=self._server.url(self.cell.fault), api_key=_KEY, timeout=LONG)

    def build(self) -> ChatMoA:
        """Return the mixture."""
        place, _, fault = self.cell
        good = [Proposer(model=self._model(name), name=name, timeout=LONG) for name in "abc"]
        seconds = SLOW.get(fault, LONG)
        bad = [Proposer(model=self._model(name, fault), name=name, timeout=seconds) for name in ("bad", "bad2")]
        options: dict[str, Any] = {"proposers": good, "aggregator": self._model("w"), "timeout": LONG}
        if place == "proposer":
            options["proposers"] = [bad[0], *good[:2]]
        elif place == "layer":
            del options["proposers"]
            options["layers"] = [good[:2], bad]
        elif place == "judge":
            options |= {"aggregator": self._model("judge", f"judge:{fault}"), "aggregation": "select"}
            options["fallback_aggregators"] = [self._model("spare")]
        elif place == "gate":
            options["fan_out"] = unless_scouts_agree(self._model("bad", fault), self._model("other"))
        else:
            is_late = place == "midway" and fault in _LATE
            options["aggregator"] = self._model("bad", fault + "+" if is_late else fault)
            options["first_token_timeout"] = PATIENCE if fault in SLOW else LONG
            if place != "alone":
                options["fallback_aggregators"] = [self._model("spare")]
            if is_late and fault == "one byte a second":
                options["deadline"] = DEADLINE
        return ChatMoA(**options)

    def check(self, heard: Heard) -> Iterator[str]:
        """Yield what is wrong with what the caller got."""
        place, _, fault = self.cell
        moa = heard.answer.response_metadata["moa"] if heard.answer else {}
        reasons = [entry["reason"] for entry in moa.get("degraded", [])]
        if self.cell.is_streamed and heard.answer and "".join(heard.chunks) != heard.answer.text:
            yield "the chunks are not the answer"
        if place == "proposer":
            status = self._status()
            yield from self._answered(heard, "w", ["a", "b", *self._shown("bad")])
            if moa and moa["layers"][0][0]["status"] != status:
                yield f"status {moa['layers'][0][0]['status']}, not {status}: {moa['layers'][0][0]['error']}"
            yield from _named(reasons, self._trimmed() if status == "ok" else [f"proposer_{status}"])
        elif place == "layer":
            status = self._status()
            if self._shown("bad"):
                yield from self._answered(heard, "w", ["bad", "bad2"])
                yield from _named(reasons, self._trimmed() if status == "ok" else 2 * [f"proposer_{status}"])
            elif not isinstance(heard.error, ProposersFailedError):
                yield f"{_class(heard)}, not ProposersFailedError"
            elif (heard.error.layer, list(heard.error.errors)) != (2, ["bad", "bad2"]):
                yield f"of layer {heard.error.layer}: {list(heard.error.errors)}"
        elif place == "judge":
            yield from self._answered(heard, "a", [])
            yield from _named(reasons, [] if fault in HARMLESS else ["judge_failed"])
        elif place == "gate":
            yield from self._answered(heard, "w", ["a", "b", "c"])
            if moa and not moa["gate"]["asked"]:
                yield "the proposers were not asked"
            silent = (*HARMLESS, "null content", "filtered", "filtered half-way")
            yield from _named(reasons, [] if fault in silent else ["gate_model_failed"])
        else:
            yield from self._aggregated(heard, reasons)

    def _aggregated(self, heard: Heard, reasons: list[str]) -> Iterator[str]:
        place, _, fault = self.cell
        whole = not self.cell.is_streamed
        full = f"<<bad>> {self.cell.name} heard a,b,c."
        if place == "midway" and not whole and fault in _LATE:
            if fault in ("half a body", "gzip cut off"):  # the stream ends as if that were all
                yield from _named(reasons, ["answer_unfinished"])
            else:
                late = {"silence midway": openai.APITimeoutError, "one byte a second": DeadlineError}
                error = late.get(fault, openai.APIError)
                if not isinstance(heard.error, error):
                    yield f"{_class(heard)}, not {error.__name__}"
            if not (said := "".join(heard.chunks)) or not full.startswith(said):
                yield f"said {said!r}"
        elif fault in HARMLESS:
            if fault == "10 MB answer":
                full += " x" * 5_000_000
            if fault == "duplicate events" and not whole:  # as a bare model has it
                full = "".join(2 * full[at : at + 12] for at in range(0, len(full), 12))
            if not heard.answer or heard.answer.text != full:
                yield f"{_class(heard)}, not the answer"
            yield from _named(reasons, ["answer_unfinished"] if fault == "no finish reason" and not whole else [])
        elif fault == "filtered half-way":
            if not heard.answer or not 0 < len(heard.answer.text) < len(full):
                yield f"{_class(heard)}, not half an answer"
            yield from _named(reasons, ["answer_filtered"])
        elif place == "alone":
            error = error_class(fault, whole=whole)
            if not isinstance(heard.error, error):
                yield f"{_class(heard)}, not {error.__name__}"
            if heard.chunks:
                yield f"said {heard.chunks}"
        else:
            yield from self._answered(heard, "spare", ["a", "b", "c"])
            yield from _named(reasons, ["aggregator_failed"])

    def _answered(self, heard: Heard, who: str, shown: list[str]) -> Iterator[str]:
        text = f"<<{who}>> {self.cell.name} heard {','.join(sorted(shown))}."
        if not heard.answer:
            yield f"{_class(heard)}: {str(heard.error)[:200]}, not an answer"
        elif heard.answer.text != text:
            yield f"{heard.answer.text[:100]!r}, not {text!r}"

    def _status(self) -> str:
        fault = self.cell.fault
        known = {"null content": "empty", "filtered": "filtered", "filtered half-way": "filtered"}
        return "ok" if fault in HARMLESS else "timeout" if fault in SLOW else known.get(fault, "failed")

    def _shown(self, name: str) -> list[str]:
        """Return who is among the references for what is left of its reply."""
        return [name] if self.cell.fault in (*HARMLESS, "filtered half-way") else []

    def _trimmed(self) -> list[str]:
        return ["references_trimmed"] if self.cell.fault == "10 MB answer" else []


def _named(reasons: list[str], expected: list[str]) -> Iterator[str]:
    if reasons != expected:
        yield f"degraded is {reasons}, not {expected}"


def _class(heard: Heard) -> str:
    """Return what a call came to, in a word; of an error, the provider's own class."""
    if heard.error is None:
        return "answer"
    ours = type(heard.error).__module__.startswith("langchain_moa")
    names = (cls for cls in type(heard.error).__mro__ if ours or not cls.__module__.startswith("langchain"))
    return next(names).__name__


def _ask(model: Any, cell: Cell) -> Heard:
    """Ask for a sync caller."""
    chunks: list[AIMessageChunk] = []
    answer, error = None, None
    try:
        if cell.way == "invoke":
            answer = model.invoke(f"Go {cell.name}.")
        else:
            for chunk in model.stream(f"Go {cell.name}."):
                chunks.append(chunk)
            answer = add_ai_message_chunks(*chunks)
    except Exception as raised:
        error = raised
    return Heard(answer, error, [chunk.text for chunk in chunks if chunk.text])


async def _aask(model: Any, cell: Cell) -> Heard:
    chunks: list[AIMessageChunk] = []
    answer, error = None, None
    try:
        if cell.way == "ainvoke":
            answer = await model.ainvoke(f"Go {cell.name}.")
        elif cell.way == "agent":
            tools = [] if cell.place == "judge" else [look_up]  # with tools there is no judge
            agent = create_agent(model, tools)
            state = await agent.ainvoke({"messages": [("user", f"Go {cell.name}.")]})
            answer = state["messages"][-1]
        else:
            async for chunk in model.astream(f"Go {cell.name}."):
                chunks.append(chunk)
            answer = add_ai_message_chunks(*chunks)
    except Exception as raised:
        error = raised
    return Heard(answer, error, [chunk.text for chunk in chunks if chunk.text])


def run_cell(cell: Cell, server: HostileServer) -> Result:
    """Ask, and check what comes of it."""
    mixture = Mixture(cell, server)
    model = mixture.bare() if cell.place == "bare" else mixture.build()
    left: list[str] = []
    started = time.perf_counter()
    seconds = 0.0

    async def acall() -> Heard:
        nonlocal seconds
        heard = await _aask(model, cell)
        seconds = time.perf_counter() - started
        if cell.place != "bare":

            async def count() -> dict[str, int]:
                state = await asyncio.to_thread(server.state)
                others = len(asyncio.all_tasks()) - 1
                return {"requests": state["in_flight"].get(cell.name, 0), "tasks": others}

            # While the loop still runs, for its end would close everything.
            since, late = time.monotonic(), _lateness.seconds
            while any((found := await count()).values()):
                if time.monotonic() - since - (_lateness.seconds - late) > AFTERWARDS:
                    break
                await asyncio.sleep(0.05)
            left.extend(f"{number} {what} left" for what, number in found.items() if number)
        return heard

    if cell.way in ("invoke", "stream"):
        heard = _ask(model, cell)
        seconds = time.perf_counter() - started
    else:
        heard = asyncio.run(acall())
    wrong = left if cell.place == "bare" else [*mixture.check(heard), *left]
    if seconds > BOUND:
        wrong.append(f"took {seconds:.0f} s")
    return Result(cell, seconds, _class(heard), "; ".join(wrong))


def run_place(place: str) -> Iterator[Result]:
    """Run the cells of a place, those of one way at once."""
    with HostileServer() as server:
        warm = Cell(place, "invoke", "no usage")
        run_cell(warm, server)
        for way in WAYS:
            if place == "bare" and way == "agent":
                continue
            before = _Held.now(server)
            cells = [Cell(place, way, fault) for fault in FAULTS if place != "bare" or fault not in SLOW]
            with ThreadPoolExecutor(len(cells)) as pool:
                results = list(pool.map(lambda cell: run_cell(cell, server), cells))
            if place != "bare":
                ended = time.monotonic()
                left, _ = _lateness.wait(lambda before=before: _left(server, before), AFTERWARDS, ended)
                if any(left):
                    faulthandler.dump_traceback(sys.stderr)
                results = _blame(results, left, server.state()["in_flight"])
            yield from results


class _Held(NamedTuple):
    """What the process holds, beside idle connections and threads."""

    threads: Counter[str]
    descriptors: int
    requests: int

    @classmethod
    def now(cls, server: HostileServer) -> _Held:
        names = Counter(thread.name for thread in threads_in_use())
        return cls(names, _descriptors(server), sum(server.state()["in_flight"].values()))


def _left(server: HostileServer, before: _Held) -> list[str]:
    """Return what the calls of a way left in the process."""
    now = _Held.now(server)
    left = [f"{number} thread {name}" for name, number in (now.threads - before.threads).items()]
    if now.descriptors > before.descriptors:
        left.append(f"{now.descriptors - before.descriptors} descriptors")
    if now.requests > before.requests:
        left.append(f"{now.requests - before.requests} requests")
    return left


def _blame(results: list[Result], left: list[str], in_flight: dict[str, int]) -> list[Result]:
    """Blame what is left on the cells whose requests go on, or if there are none on all of the way."""
    blamed = {result.cell for result in results if result.cell.name in in_flight}
    if not left:
        return results
    return [
        result._replace(wrong="; ".join(filter(None, [result.wrong, f"left: {', '.join(left)}"])))
        if result.cell in blamed or not blamed
        else result
        for result in results
    ]


def _descriptors(server: HostileServer) -> int:
    """Return the number of descriptors that are no open connection to the server."""
    return len(os.listdir("/proc/self/fd")) - server.state()["open"]


def compare(results: list[Result]) -> tuple[list[Result], dict[tuple[str, str], str]]:
    """Compare the aggregator's errors with those of a bare model.

    Returns:
        The results without the bare model's, and what that came to, by fault and whole or streamed.
    """
    bare = {(r.cell.fault, r.cell.way): r.got for r in results if r.cell.place == "bare"}
    compared = []
    for result in results:
        if result.cell.place == "bare":
            continue
        way = "ainvoke" if result.cell.way == "agent" else result.cell.way
        plain = bare.get((result.cell.fault, way))
        if (
            result.cell.place == "alone"
            and plain is not None
            and result.got not in ("answer", "EmptyAnswerError", "APIError", plain)
        ):
            wrong = f"{result.got}, and a bare model raises {plain}"
            result = result._replace(wrong="; ".join(filter(None, [result.wrong, wrong])))
        compared.append(result)
    return compared, bare


def table(results: list[Result], bare: dict[tuple[str, str], str]) -> str:
    """Return the Markdown table: how many of the ways hold, by fault and place, and what is wrong with the others."""
    places = [place for place in PLACES if any(result.cell.place == place for result in results)]
    lines = [f"| fault | bare model | {' | '.join(places)} |", "| --- | --- |" + " ---: |" * len(places)]
    for fault in FAULTS:
        row = [fault, _bare(fault, bare)]
        for place in places:
            ways = [result for result in results if result.cell[::2] == (place, fault)]
            held = sum(not result.wrong for result in ways)
            row.append(f"{held}/{len(ways)}" + ("" if held == len(ways) else " MISSED"))
        lines.append(f"| {' | '.join(row)} |")
    slowest = [max(r.seconds for r in results if r.cell.place == place) for place in places]
    lines.append("| *slowest, s* | | " + " | ".join(f"{seconds:.1f}" for seconds in slowest) + " |")
    lines += ["", *(f"- `{place}`: {PLACES[place]}" for place in places)]
    missed = [result for result in results if result.wrong]
    lines += ["", f"{len(results) - len(missed)} of {len(results)} cells hold."]
    lines += [f"- MISSED {r.cell.fault} x {r.cell.place} x {r.cell.way}: {r.wrong[:300]}" for r in missed]
    return "\n".join(lines)


def _bare(fault: str, bare: dict[tuple[str, str], str]) -> str:
    whole, streamed = bare.get((fault, "ainvoke"), ""), bare.get((fault, "astream"), "")
    return whole if whole == streamed else f"{whole}; streamed: {streamed}"


def _shard(place: str) -> list[Result]:
    command = [sys.executable, "-m", "tests.benchmarks.faults", "--shard", place]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
    return [Result(Cell(*cell), *rest) for cell, *rest in json.loads(done.stdout)]


def main() -> int:
    """Run the matrix, print the table, and tell by the exit code whether all cells hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="places at once, each in a process")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shard", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shard:
        logging.disable(logging.ERROR)  # each fault is one
        with _lateness:
            results = list(run_place(options.shard))
        print(json.dumps(results))
        return 0
    started = time.perf_counter()
    with ThreadPoolExecutor(options.at_once) as pool:
        shards = list(pool.map(_shard, ["bare", *options.places]))
    results, bare = compare([result for shard in shards for result in shard])
    if options.json:
        print(json.dumps([[*result.cell, *result[1:]] for result in results]))
    else:
        packages = ("langchain-core", "langgraph", "langchain-together", "openai", "httpx", "aiohttp")
        print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, ", end="")
        print(", ".join(f"{name} {version(name)}" for name in packages), end="")
        print(f"; {time.perf_counter() - started:.0f} s.\n\n{table(results, bare)}")
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
