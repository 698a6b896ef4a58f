"""What an evaluation handles: questions, a system's answers, a judge's judgments, and the benchmark that ties them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a benchmark."""

    id: str

    turns: tuple[tuple[BaseMessage, ...], ...]
    """What each turn adds to the conversation before the system is asked. Most benchmarks have one turn."""

    decoding: Mapping[str, Any] = field(default_factory=dict)
    """How the benchmark wants it answered: `temperature`, `max_tokens`. Empty: as the system does by itself."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark needs to judge it: category, reference answer, skills and the like. JSON only."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one system said to one question."""

    question: str
    """The question's id."""

    system: str
    """The system's name."""

    texts: tuple[str, ...] = ()
    """One text per turn, stripped."""

    metadata: tuple[Mapping[str, Any], ...] = ()
    """Each turn's `response_metadata`. JSON only."""

    usage: Mapping[str, UsageMetadata] = field(default_factory=dict)
    """Tokens by model, the calls inside a composed system included. Empty: no model told."""

    calls: int = 0
    """Model calls, the ones inside a composed system included."""

    seconds: float | None = None
    """Wall time of all turns; `None`: not measured (an imported answer)."""

    error: str | None = None
    """Why there is no answer."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """One verdict on one answer: a judge's reply with its parsed score, or a score that needs no judge."""

    question: str
    system: str

    part: str = ""
    """Which of the benchmark's verdicts on the answer: a turn, an order. Empty where there is only one."""

    score: float | None = None
    """In the benchmark's own unit; `None`: unscored (no verdict could be read). Never a zero in its place."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else the verdict says: log-probabilities, scores by skill, whether the outputs were switched. JSON only."""

    reply: str = ""
    """The judge's own words."""

    usage: Mapping[str, UsageMetadata] = field(default_factory=dict)
    """Tokens by model. Empty: no judge was asked."""

    error: str | None = None
    """Why the judge gave no reply. An unreadable reply is no error."""


@dataclass(frozen=True, kw_only=True)
class JudgeCall:
    """One question to a judge."""

    part: str
    messages: Sequence[BaseMessage]

    arguments: Mapping[str, Any]
    """Call-time arguments for the judge: `temperature`, `max_tokens`, `logprobs`."""

    read: Callable[[AIMessage], tuple[float | None, Mapping[str, Any]]]
    """Takes the reply to a `Judgment`'s `score` and `fields`."""


class Metric(Protocol):
    """How one system did on one benchmark."""

    questions: Sequence[str]
    """The ids of the questions that count, in the benchmark's order. A bootstrap draws from these."""

    figures: Mapping[str, float]
    """All figures by name, the main one first, in the order in which a report shows them."""

    breakdowns: Mapping[str, Mapping[str, float]]
    """Scores by, say, `category` or `skill`, each in the benchmark's order."""

    warnings: Sequence[str]
    """What a reader has to know before trusting the figures."""

    def score(self, sample: Sequence[int] | None = None) -> float:
        """Return the main figure.

        Args:
            sample: Positions in `questions`, with repetition: a bootstrap's draw. `None`: all of them.
        """


class Benchmark(Protocol):
    """A set of questions, how their answers are judged, and what the judgments come to."""

    name: str
    """As the command line and the files name it: `alpaca_eval`, `mt_bench`, `flask`, or the own task's."""

    fingerprint: str
    """Hash of the questions, the prompts and whatever else decides what a judgment means."""

    score_name: str
    """What `Metric.score` is, with its unit: `length-controlled win rate (%)`, `score (1-10)`."""

    questions: Sequence[Question]

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return what to ask a judge about an answer, or verdicts that need none."""

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Metric:
        """Return how one system did. Failed answers and unscored judgments are left out and counted."""

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return one system's results in the format of the benchmark's original tools: file names to contents."""

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read answers from a file in the format of the benchmark's original tools.

        Raises:
            DatasetError: The file is missing or malformed.
        """

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read judgments from a file in the format of the benchmark's original tools.

        Raises:
            DatasetError: The file is missing or malformed.
        """
