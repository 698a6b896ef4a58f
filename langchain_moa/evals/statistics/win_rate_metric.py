"""Win rates from preferences, raw and length-controlled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from langchain_moa.evals.types import Bounds

if TYPE_CHECKING:
    from langchain_moa.evals.statistics.length_control import LengthControl


class WinRateMetric:
    """A `Metric` whose main score is the length-controlled win rate if available, and the raw win rate otherwise."""

    def __init__(
        self,
        preferences: Mapping[str, float],
        *,
        control: LengthControl | None,
        average_length: float,
        breakdowns: Mapping[str, Mapping[str, float]],
        warnings: Sequence[str],
    ) -> None:
        """Compute the win rates.

        Args:
            preferences: By question, in the benchmark's order: from 1 (baseline wins) to 2 (system wins).
            control: Length control for the same questions, in the same order. `None`: not available.
            average_length: Mean length of the system's outputs, in characters.
            breakdowns: As in `Metric`.
            warnings: As in `Metric`.
        """
        self.questions: Sequence[str] = tuple(preferences)
        self.bounds: Bounds | None = (0, 100)
        self._control = control
        self._shares = [preference - 1 for preference in preferences.values()]
        controlled = (
            {"length_controlled_win_rate": control.win_rate, "lc_standard_error": control.standard_error}
            if control
            else {}
        )
        raw = win_rates(list(preferences.values()))
        self.figures: Mapping[str, float] = {**controlled, **raw, "average_length": average_length}
        self.breakdowns: Mapping[str, Mapping[str, float]] = breakdowns
        self.warnings: Sequence[str] = warnings
        if control and _is_far(control.win_rate, raw["win_rate"]):
            far = "The length-controlled win rate is far from the raw one: the regression may have failed."
            self.warnings = (*warnings, far)

    def score(self, sample: Sequence[int] | None = None) -> float:
        """Return the main score in percent. For some of the questions, length control is refitted with the same `C`."""
        if self._control:
            return self._control.win_rate if sample is None else self._control.refit(sample)
        return _percent(self._shares if sample is None else [self._shares[position] for position in sample])


def win_rates(preferences: Sequence[float]) -> dict[str, float]:
    """Compute leaderboard statistics of preferences from 1 to 2.

    Returns:
        `win_rate`, `standard_error` and `discrete_win_rate` in percent, where a draw is half a win; `nan` without
        enough judgments. Source: tatsu-lab/alpaca_eval, `metrics/winrate.py`.
    """
    count = len(preferences)
    shares = [preference - 1 for preference in preferences]
    wins = sum(preference > 1.5 for preference in preferences)
    draws = sum(preference == 1.5 for preference in preferences)
    return {
        "win_rate": _percent(shares),
        "standard_error": 100 * stdev(shares) / math.sqrt(count) if count > 1 else math.nan,
        "discrete_win_rate": 100 * (wins + draws / 2) / count if count else math.nan,
        "wins": wins,
        "losses": count - wins - draws,
        "draws": draws,
        "n": count,
    }


def _percent(shares: Sequence[float]) -> float:
    return 100 * fmean(shares) if shares else math.nan


def _is_far(controlled: float, raw: float) -> bool:
    """Whether length control changes the win rate too much. Source: `glm_winrate.py::get_is_extreme_changes`."""
    return controlled < min(raw * 0.75, raw - 10) or controlled > max(raw + (100 - raw) / 4, raw + 10)
