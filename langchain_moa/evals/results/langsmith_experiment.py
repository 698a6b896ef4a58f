"""One system's answers and judgments as an experiment in LangSmith."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langsmith.run_trees import RunTree

from langchain_moa.evals.types import Answer, Judgment, Question

if TYPE_CHECKING:
    from langsmith import Client


def write_experiment(
    client: Client,
    dataset: str,
    system: str,
    *,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    judgments: Sequence[Judgment],
) -> str:
    """Write a system's run as a new experiment of a LangSmith dataset.

    Each answer is a run of its example, with its calls, tokens and error; each score is feedback on it, under the
    grader's own keys where it has several, and else `score`.

    Args:
        client: The client, which knows the endpoint and the key.
        dataset: The dataset's name.
        system: The system's name; the experiment is named after it.
        questions: The questions, whose ids are those of the examples.
        answers: The answers, failed ones too.
        judgments: Their judgments.

    Returns:
        The experiment's name.

    Raises:
        LangSmithError: LangSmith can't be reached, or refuses it.
    """
    asked = {question.id: question for question in questions}
    answers = [answer for answer in answers if answer.question in asked]
    judged = defaultdict(list)
    for judgment in judgments:
        judged[judgment.question].append(judgment)
    name = f"{system}-{uuid4().hex[:8]}"
    experiment = client.create_project(
        name,
        reference_dataset_id=client.read_dataset(dataset_name=dataset).id,
        metadata={"system": system, "evaluated_with": "moa eval"},
    )
    for answer in answers:
        run = _run(client, name, asked[answer.question], answer)
        run.post()
        for key, score, comment in _feedback(judged[answer.question]):
            client.create_feedback(
                key=key,
                score=score,
                comment=comment or None,
                run_id=run.id,
                trace_id=run.id,  # with it feedback is sent in batches, in the background
                session_id=experiment.id,
            )
    client.flush()
    return name


def _run(client: Client, experiment: str, question: Question, answer: Answer) -> RunTree:
    """Return the run of one answer. It ends now, since only its length was kept."""
    ended = datetime.now(UTC)
    messages = [message for turn in question.turns for message in turn]
    return RunTree(
        name=answer.system,
        run_type="chain",
        inputs={"messages": [{"role": message.type, "content": message.content} for message in messages]},
        outputs={"output": answer.texts[-1]} if answer.texts else None,
        error=answer.error,
        start_time=ended - timedelta(seconds=answer.seconds or 0),
        end_time=ended,
        extra={"metadata": {"calls": answer.calls, "usage": dict(answer.usage)}},
        reference_example_id=UUID(question.repeat_of or question.id),
        project_name=experiment,
        client=client,
    )


def _feedback(judgments: Sequence[Judgment]) -> list[tuple[str, float, str]]:
    """Return key, score and comment of each score."""
    feedback = []
    for judgment in judgments:
        scores: Mapping[str, Any] = judgment.fields.get("scores", {})
        if len(scores) > 1:
            feedback += [(key, float(score), judgment.reply) for key, score in scores.items()]
        elif judgment.score is not None:
            feedback.append((_key(scores, judgment.part), judgment.score, judgment.reply))
    return feedback


def _key(scores: Mapping[str, Any], part: str) -> str:
    # `score 1` is the name of a score that its grader did not name.
    named = [key for key in scores if key != "score 1"]
    return named[0] if named else part or "score"
