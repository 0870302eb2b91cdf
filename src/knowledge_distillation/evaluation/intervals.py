"""Intervals of a mean of a few paired differences: Student's t, and the bootstrap."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np

RESAMPLES = 9_999


def paired_t(differences: Sequence[float], confidence: float, *, resolution: float = 0.0) -> tuple[float, float]:
    """The paired t interval of the mean difference: that of `scipy.stats.ttest_rel`.

    Args:
        differences: one for each pair, at least 2.
        confidence: between 0 and 1.
        resolution: the smallest step that each score can take, such as 1/100 for accuracy on 100 items. Differences
            that agree to within it say little of their true spread, so the spread is taken to be at least what the
            rounding of two scores to it gives: resolution / sqrt(6). 0 for none.

    Returns:
        Low and high, in the unit of the differences.
    """
    spread = max(statistics.stdev(differences), resolution / math.sqrt(6))
    margin = student_t_quantile(0.5 + confidence / 2, len(differences) - 1) * spread / math.sqrt(len(differences))
    mean = statistics.fmean(differences)
    return mean - margin, mean + margin


def bootstrap(differences: Sequence[float], confidence: float) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean difference, from 9,999 seeded resamples of whole pairs.

    It assumes no form of the differences; with fewer than about 10 pairs it is too narrow, so no verdict rests on it.

    Args:
        differences: one for each pair, at least 2.
        confidence: between 0 and 1.

    Returns:
        Low and high, in the unit of the differences; the same for the same differences.

    Reference: Efron (1979), Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1).
    """
    means = np.asarray(differences, dtype=float)[_resamples(len(differences))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@functools.lru_cache(maxsize=16)
def _resamples(count: int) -> np.ndarray:
    """Places of the pairs in every resample, [RESAMPLES, count]."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


@functools.lru_cache(maxsize=256)
def student_t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution, for probabilities from 0.5 up to 0.9999.

    Args:
        probability: of staying below the result.
        degrees: of freedom, >= 1.
    """
    # With t = sqrt(degrees) * tan(angle) the density becomes cos(angle)**(degrees - 1), smooth on a bounded interval.
    angles = np.linspace(0.0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp((probability - 0.5) * 2 * mass[-1], mass, angles))
    return math.sqrt(degrees) * math.tan(angle)
