"""Counting votes while they come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from math import comb


class Ballot:
    """What a number of voters have voted for so far."""

    def __init__(self, voters: int, *, confidence: float | None = None, votes: Iterable[Hashable | None] = ()) -> None:
        """Open the ballot.

        Args:
            voters: Their number.
            confidence: Probability of the leader's lead that decides the vote.
            votes: What some of the voters have voted for already; `None`: that one has no vote.
        """
        self.votes: Counter[Hashable] = Counter()
        self._remaining = voters
        self._confidence = confidence
        for vote in votes:
            self.cast(vote)

    def cast(self, vote: Hashable | None) -> None:
        """Count one voter's vote; `None`: it has none."""
        self._remaining -= 1
        if vote is not None:
            self.votes[vote] += 1

    @property
    def is_decided(self) -> bool:
        """Whether the leader is ahead with the given confidence, or can't even be drawn level with any more."""
        first, second = self._two_most()
        if self._confidence is not None and probability_of_lead(first, second) >= self._confidence:
            return True
        return first - second > self._remaining

    @property
    def winner(self) -> Hashable | None:
        """The answer with most votes so far; `None` when two have as many, or nobody has voted."""
        first, second = self._two_most()
        return self.votes.most_common(1)[0][0] if first > second else None

    def _two_most(self) -> tuple[int, int]:
        counts = [count for _, count in self.votes.most_common(2)]
        first, second, *_ = [*counts, 0, 0]
        return first, second


def probability_of_lead(first: int, second: int) -> float:
    """Return how probable it is that the answer with `first` votes beats the one with `second` in the long run.

    The probability that a coin's bias is above 1/2 after these tosses, from a uniform prior: Adaptive-Consistency's
    Beta criterion (arXiv:2305.11860, section 3), as the binomial sum that it equals. 4 votes to 0 give 0.969.
    """
    tosses = first + second + 1
    return sum(comb(tosses, heads) for heads in range(first + 1)) / (1 << tosses)
