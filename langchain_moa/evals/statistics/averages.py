"""Means and percentiles of what was measured. Nothing measured is `None`, never zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

try:
    import numpy as np
except ImportError as error:
    msg = 'Reports need numpy: pip install "langchain-moa[evals]"'
    raise ImportError(msg) from error


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile, linearly interpolated. `None`: there are no values."""
    return float(np.percentile(values, percent)) if values else None


def mean(values: Sequence[float]) -> float | None:
    """Return the mean. `None`: there are no values."""
    return math.fsum(values) / len(values) if values else None
