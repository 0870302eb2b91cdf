"""What goes wrong for a user when an interval does not hold what its 95% promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from knowledge_distillation.evaluation.intervals import bootstrap, paired_t, student_t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 29, 99, 1000])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.9, 0.975, 0.995, 0.9999])
def test_the_quantile_is_scipys(degrees: int, probability: float) -> None:
    """Otherwise every interval is too wide or too narrow."""
    expected = stats.t.ppf(probability, degrees)
    assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_bootstrap_interval_is_that_of_all_resamples(count: int) -> None:
    """Otherwise the second interval is that of another estimator, or of too few resamples."""
    differences = np.random.default_rng(count).normal(0.01, 0.02, count)
    means = [np.mean(chosen) for chosen in itertools.product(differences, repeat=count)]
    expected = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert bootstrap(differences, 0.95) == pytest.approx(tuple(expected), abs=0.004)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_interval_is_scipys(confidence: float) -> None:
    """Otherwise nobody can check it."""
    differences = np.random.default_rng(0).gamma(2.0, 0.01, 15)
    expected = stats.bootstrap(
        (differences,), np.mean, confidence_level=confidence, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    low, high = bootstrap(differences, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=5e-4)
    assert bootstrap(differences, confidence) == (low, high)


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_the_t_interval_covers_the_truth_in_95_of_100(seeds: int) -> None:
    """Otherwise 'helped' is said in noise more often than in 2.5% of comparisons."""
    draws = np.random.default_rng(seeds).normal(0.3, 1.0, (4000, seeds))
    intervals = [paired_t(list(row), 0.95) for row in draws]
    above = sum(low > 0.3 for low, _ in intervals)
    below = sum(high < 0.3 for _, high in intervals)
    for missed in (above, below):
        low, high = stats.binom.interval(0.9999, 4000, 0.025)
        assert low <= missed <= high


def test_equal_differences_of_a_coarse_score_are_no_certainty() -> None:
    """Otherwise one validation sample that three students get right and three do not is a proof."""
    assert paired_t([1.0, 1.0, 1.0], 0.95)[0] == 1.0
    low, high = paired_t([1.0, 1.0, 1.0], 0.95, resolution=1.0)
    margin = stats.t.ppf(0.975, 2) * math.sqrt(1 / 6) / math.sqrt(3)
    assert (low, high) == pytest.approx((1 - margin, 1 + margin), rel=1e-6)
    assert low < 0
    assert paired_t([0.1, 0.3, 0.2], 0.95, resolution=0.001) == paired_t([0.1, 0.3, 0.2], 0.95)
