"""The data types of an evaluation: questions, answers, judgments, metrics and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata

Bounds = tuple[float, float]
"""The lowest and the highest score that a question can have."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a benchmark."""

    id: str

    turns: tuple[tuple[BaseMessage, ...], ...]
    """The messages that each turn appends to the conversation. Most benchmarks have a single turn."""

    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Decoding parameters that the benchmark prescribes: `temperature`, `max_tokens`. Empty: the system's defaults."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Data the benchmark needs for judging, such as category, reference answer or skills. JSON-serializable."""

    repeat_of: str = ""
    """Id of the question that this one repeats. Empty: it is no repeat."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One system's answer to one question."""

    question: str
    """The question's id."""

    system: str
    """The system's name."""

    texts: tuple[str, ...] = ()
    """One text per turn, stripped."""

    metadata: tuple[Mapping[str, Any], ...] = ()
    """The `response_metadata` of each turn. JSON-serializable."""

    usage: Mapping[str, UsageMetadata] = field(default_factory=dict)
    """Token usage by model, including calls inside a composed system. Empty: no model reported any."""

    calls: int = 0
    """Number of model calls, including calls inside a composed system."""

    seconds: float | None = None
    """Wall-clock seconds for all turns. `None`: not measured (an imported answer)."""

    error: str | None = None
    """Why the question could not be answered. `None`: it was."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """One verdict on one answer: a judge's reply with the score parsed from it, or a score computed without a judge."""

    question: str
    system: str

    part: str = ""
    """Which verdict it is where there are several per answer: a turn, or an order. Empty otherwise."""

    score: float | None = None
    """The score in the benchmark's own unit. `None`: unscored, because no verdict could be parsed."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further data: log-probabilities, scores by skill, whether outputs were switched. JSON-serializable."""

    reply: str = ""
    """The text of the judge's reply."""

    usage: Mapping[str, UsageMetadata] = field(default_factory=dict)
    """Token usage by model. Empty: no judge was called."""

    error: str | None = None
    """Why the judge call failed. A reply without a parsable verdict is not an error."""


@dataclass(frozen=True, kw_only=True)
class JudgeCall:
    """One request to a judge."""

    part: str
    messages: Sequence[BaseMessage]

    arguments: Mapping[str, Any]
    """Call-time arguments for the judge, such as `temperature`, `max_tokens`, `logprobs`."""

    read: Callable[[AIMessage], tuple[float | None, Mapping[str, Any]]]
    """Parses the reply into the `score` and `fields` of a `Judgment`."""


class Metric(Protocol):
    """The scores of one system on one benchmark."""

    questions: Sequence[str]
    """Ids of the questions that were scored, in the benchmark's order."""

    bounds: Bounds | None
    """Lowest and highest score possible, in the main score's unit. `None`: not known."""

    figures: Mapping[str, float]
    """Scores by name, the main score first, in the order in which a report shows them."""

    breakdowns: Mapping[str, Mapping[str, float]]
    """Scores by group, such as `category` or `skill`, each in the benchmark's order."""

    warnings: Sequence[str]
    """Caveats about the scores, for the reader of a report."""

    def score(self, sample: Sequence[int] | None = None) -> float:
        """Return the main score.

        Args:
            sample: Indices into `questions`. `None`: all questions.
        """


class Benchmark(Protocol):
    """A set of questions, how answers to them are judged, and how judgments are aggregated."""

    name: str
    """Name on the command line and in files: `alpaca_eval`, `mt_bench`, `flask`, or the name of your task."""

    fingerprint: str
    """Hash of the questions, prompts and everything else that determines a judgment."""

    score_name: str
    """Name and unit of `Metric.score`: `length-controlled win rate (%)`, `score (1-10)`."""

    questions: Sequence[Question]

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the judge calls for an answer, or its judgments where no judge is needed."""

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the judgments of a failed answer where failures count as wrong: the lowest score possible."""

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Metric:
        """Return one system's metric. Answers without a judgment and unscored judgments are excluded and counted."""

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return one system's results in the format of the benchmark's original tools: file name to content."""

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
