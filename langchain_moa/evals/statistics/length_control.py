"""AlpacaEval 2's length-controlled win rate: the win rate if outputs were as long as the baseline's.

A logistic regression explains each preference by the difference in length, the instruction's difficulty and the
system; the prediction leaves the length out. Source: arXiv:2404.04475; tatsu-lab/alpaca_eval,
`metrics/glm_winrate.py`, `length_controlled_v1`. The same numbers, without pandas and patsy.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import numpy as np
    import sklearn  # type: ignore[import-untyped]
    from numpy.typing import NDArray
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV  # type: ignore[import-untyped]
    from sklearn.metrics import make_scorer  # type: ignore[import-untyped]
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]
except ImportError as error:
    msg = 'The length-controlled win rate needs scikit-learn: pip install "langchain-moa[evals]"'
    raise ImportError(msg) from error

Array = NDArray[np.float64]

# Regularization strength 0.2, shared by the two gamed systems.
_GAMED_WEIGHT = 0.2 / 2

# Without an intercept: the third column is the system's own.
_LIBLINEAR: Mapping[str, Any] = {"solver": "liblinear", "fit_intercept": False, "random_state": 123}


@dataclass(frozen=True, kw_only=True)
class GamedJudgments:
    """Judgments of the baseline prompted to be concise or verbose, against itself: the judge's length bias."""

    design: Array
    """One row per judgment: length difference, instruction difficulty, 0 (no system effect)."""

    preferences: Array
    """One per judgment, 0-1."""

    difficulties: Mapping[int, float]
    """Instruction difficulty by index in the evaluation set."""


def read_gamed_judgments(text: str) -> GamedJudgments:
    """Read AlpacaEval's `df_gamed.csv`."""
    rows = list(csv.DictReader(text.splitlines()))
    judged = [row for row in rows if row["preference"]]
    lengths = np.tanh([float(row["std_delta_len"]) for row in judged])
    difficulties = np.array([float(row["instruction_difficulty"]) for row in judged])
    return GamedJudgments(
        design=np.column_stack([lengths, difficulties, np.zeros(len(judged))]),
        preferences=np.array([float(row["preference"]) for row in judged]),
        difficulties={int(row["index"]): float(row["instruction_difficulty"]) for row in rows},
    )


class LengthControl:
    """The length-controlled win rate of one system."""

    win_rate: float
    """Percent."""

    standard_error: float
    """Percent, as on the leaderboard: the spread of fitted preferences over instructions. It ignores noise in judgments
    and fit, and is about half of what the jackknife with `refit` gives."""

    coefficients: Array
    """Coefficients of the length difference, the difficulty, and the system."""

    c: float
    """Inverse regularization strength chosen by cross-validation; scikit-learn's `C`."""

    def __init__(
        self,
        gamed: GamedJudgments,
        *,
        preferences: Sequence[float],
        lengths: Sequence[int],
        difficulties: Sequence[float],
    ) -> None:
        """Fit the regression, in about 0.2 seconds.

        Args:
            gamed: Length-bias judgments, used for regularization.
            preferences: Preference for the system over the baseline, 0-1, one per question.
            lengths: Length of the baseline's output minus the system's, in characters, one per question.
            difficulties: Instruction difficulty, one per question.
        """
        self._gamed = gamed
        self._lengths = np.array(lengths, dtype=float)
        self._difficulties = np.array(difficulties, dtype=float)
        self._targets = np.concatenate([gamed.preferences, preferences])
        counts = np.ones(len(preferences))
        self.coefficients, self.c = _cross_validate(self._design(counts), self._targets, _weights(gamed, counts))
        fitted = 100 * self._predict(self.coefficients)
        self.win_rate = float(fitted.mean())
        self.standard_error = float(fitted.std(ddof=1) / np.sqrt(len(fitted)))

    def refit(self, sample: Sequence[int]) -> float:
        """Return the win rate over some questions, refitted with the same regularization strength.

        Args:
            sample: Indices of questions.

        Returns:
            Percent.
        """
        counts = np.bincount(sample, minlength=len(self._lengths)).astype(float)
        coefficients = _fit(self._design(counts), self._targets, _weights(self._gamed, counts), c=self.c)
        return float(100 * np.average(self._predict(coefficients), weights=counts))

    def _design(self, counts: Array) -> Array:
        """Return the design matrix: gamed rows, then the system's. Lengths are scaled by their spread, not centered."""
        mean = np.average(self._lengths, weights=counts)
        spread = np.sqrt(counts @ (self._lengths - mean) ** 2 / max(counts.sum() - 1, 1))
        lengths = np.tanh(self._lengths / (spread or 1))
        own = np.column_stack([lengths, self._difficulties, np.ones(len(lengths))])
        return np.concatenate([self._gamed.design, own])

    def _predict(self, coefficients: Array) -> Array:
        """Predict the preferences without a length difference."""
        predicted: Array = 1 / (1 + np.exp(-coefficients[1] * self._difficulties - coefficients[2]))
        return predicted


def _weights(gamed: GamedJudgments, counts: Array) -> Array:
    return np.concatenate([np.full(len(gamed.preferences), _GAMED_WEIGHT), counts])


def _cross_validate(design: Array, targets: Array, weights: Array) -> tuple[Array, float]:
    """Return the coefficients and `C` of the regression with the best cross-validated loss."""
    doubled, classes, parts = _as_classes(design, targets, weights)
    rows = np.arange(len(targets))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            cv=GroupKFold(5),
            scoring=scorer.set_score_request(targets=True, weights=True),
            l1_ratios=(1,),
            use_legacy_attributes=False,
            **_LIBLINEAR,
        ).set_fit_request(sample_weight=True)
        model.fit(
            doubled,
            classes,
            sample_weight=parts,
            groups=np.concatenate([rows, rows]),
            targets=np.concatenate([targets, targets]),
            weights=np.concatenate([weights, weights]),
        )
    return model.coef_[0], float(model.C_)


def _fit(design: Array, targets: Array, weights: Array, *, c: float) -> Array:
    """Return the coefficients for a given `C`."""
    doubled, classes, parts = _as_classes(design, targets, weights)
    model = LogisticRegression(C=c, l1_ratio=1, **_LIBLINEAR).fit(doubled, classes, sample_weight=parts)
    coefficients: Array = model.coef_[0]
    return coefficients


def _as_classes(design: Array, targets: Array, weights: Array) -> tuple[Array, NDArray[np.int64], Array]:
    """Return every row as a 1, weighted with its target, and as a 0, weighted with the rest.

    scikit-learn's regression takes classes, not probabilities.
    """
    classes = np.repeat([1, 0], len(targets))
    return np.concatenate([design, design]), classes, np.concatenate([targets * weights, (1 - targets) * weights])


def _log_loss(_: Array, predicted: Array, targets: Array, weights: Array) -> float:
    predicted = np.clip(predicted, 1e-15, 1 - 1e-15)
    return float(-np.mean(weights * (targets * np.log(predicted) + (1 - targets) * np.log(1 - predicted))))
