"""`vote`: references vote by what they answer; the first one with the winning answer is the answer as it stands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Sequence
from functools import partial

from langchain_moa._aggregation.outcome import Outcome
from langchain_moa._runtime.ballot import Ballot
from langchain_moa._runtime.sync_bridge import in_thread
from langchain_moa.answer_keys import AnswerKey, answer_of, is_builtin
from langchain_moa.state import Reference

logger = logging.getLogger(__name__)

# Seconds that a user's own answer key may take for one text.
_PATIENCE = 5.0


async def read_vote(text: str, key: AnswerKey) -> Hashable | None:
    """Return what a text votes for, or `None`. A user's own key is called on a thread: it may take its time."""
    if is_builtin(key):
        return answer_of(text, key)
    try:
        async with asyncio.timeout(_PATIENCE):
            return await in_thread(partial(answer_of, text, key))
    except TimeoutError:
        logger.warning("The answer key took more than %g seconds on a proposal, which has no vote.", _PATIENCE)
        return None


async def vote(candidates: Sequence[Reference], *, key: AnswerKey) -> Outcome:
    """Count the candidates' votes.

    Args:
        candidates: Complete references, in the order in which they are shown.
        key: From a text to its answer.

    Returns:
        The winner and the votes. There is no winner when two answers have as many votes, or nobody has voted.
    """
    answers = [await read_vote(candidate["content"], key) for candidate in candidates]
    ballot = Ballot(len(answers))
    for answer in answers:
        ballot.cast(answer)
    votes = {str(answer): count for answer, count in ballot.votes.most_common()}
    if (winner := ballot.winner) is None:
        return Outcome(aggregation="vote", account={"vote": {"votes": votes}})
    voice = candidates[answers.index(winner)]
    account = {"vote": {"votes": votes, "answer": str(winner), "proposer": voice["proposer"]}}
    return Outcome(aggregation="vote", winner=voice, account=account)
