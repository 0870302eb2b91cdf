"""What goes wrong for a reader of the verdict's error rates when comparisons are counted wrongly."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest

from benchmarks.verdict import Job, plan, scores, verdicts, wilson


def test_each_comparison_is_judged_on_its_own_pairs() -> None:
    """Otherwise a verdict mixes the seeds of two comparisons, and the shares are of something else."""
    alone = [0.50, 0.52, 0.51] * 3
    taught = [*(0.60, 0.62, 0.611), *(0.40, 0.42, 0.411), *(0.50, 0.53, 0.50)]
    assert verdicts(taught, alone, 3) == {"helped": 0.3333, "no evidence": 0.3333, "hurt": 0.3333}


def test_verdicts_on_noise_are_wrong_at_the_nominal_rate() -> None:
    """Otherwise the rate that is printed is the counter's, not the verdict's."""
    draw = random.Random(0)
    taught, alone = ([draw.gauss(0, 1) for _ in range(3000)] for _ in range(2))
    found = verdicts(taught, alone, 3)
    for side in ("helped", "hurt"):
        assert binomtest(round(found[side] * 1000), 1000, 0.025).pvalue > 0.001


@pytest.mark.parametrize(("share", "count"), [(0.0, 200), (0.025, 200), (0.5, 40), (1.0, 200)])
def test_the_interval_of_a_share_is_wilsons(share: float, count: int) -> None:
    """Otherwise the margin that is stated is too narrow."""
    expected = binomtest(round(share * count), count).proportion_ci(method="wilson")
    assert wilson(share, count) == pytest.approx([expected.low, expected.high], abs=1e-3)


def test_every_random_teacher_is_another_and_every_training_can_be_repeated() -> None:
    """Otherwise all comparisons are with one lucky teacher, or two runs print two rates."""
    assert scores(Job("random", range(2), 1)) == scores(Job("random", range(2), 1))
    weights = [plan("random", 0, teacher).teacher[0].weight for teacher in (0, 1)]
    assert not (weights[0] == weights[1]).all()
    assert plan("control", 0, 0).teacher is None
