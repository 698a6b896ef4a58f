"""Counting votes while they come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable


class Ballot:
    """What a number of voters have voted for so far."""

    def __init__(self, voters: int) -> None:
        """Open the ballot for a number of voters."""
        self.votes: Counter[Hashable] = Counter()
        self._remaining = voters

    def cast(self, vote: Hashable | None) -> None:
        """Count one voter's vote; `None`: it has none."""
        self._remaining -= 1
        if vote is not None:
            self.votes[vote] += 1

    @property
    def is_decided(self) -> bool:
        """Whether the leader can't be overtaken any more, and not be drawn level with either."""
        first, second = self._two_most()
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
