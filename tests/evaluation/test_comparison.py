"""What goes wrong for a user when a verdict is not what the numbers say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.comparison import compare, compare_scores


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_the_interval_is_scipys_paired_t_interval(pairs: list[tuple[float, float]], confidence: float) -> None:
    """Otherwise the reported certainty is wrong."""
    taught, alone = (np.array(side) for side in zip(*pairs, strict=True))
    result = compare_scores("accuracy", range(len(pairs)), list(taught), list(alone), confidence=confidence)
    differences = taught - alone
    assert result.difference == pytest.approx(differences.mean(), abs=1e-12)
    # scipy subtracts the arms itself, so equal differences leave it the rounding of their mean.
    if differences.std() < 1e-9:
        return
    expected = stats.ttest_rel(taught, alone).confidence_interval(confidence)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("taught", "alone", "higher", "verdict"),
    [
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.83], True, "helped"),
        ([0.8, 0.81, 0.83], [0.9, 0.91, 0.92], True, "hurt"),
        ([0.9, 0.8, 0.85], [0.85, 0.86, 0.84], True, "no evidence"),
        ([2.0, 2.1, 2.2], [3.0, 3.2, 3.1], False, "helped"),
        ([3.0, 3.2, 3.1], [2.0, 2.1, 2.2], False, "hurt"),
        ([0.5, 0.5], [0.5, 0.5], True, "no evidence"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_direction(
    taught: list[float], alone: list[float], higher: bool, verdict: str
) -> None:
    """Otherwise distillation that hurts is reported as help."""
    result = compare_scores("score", range(len(taught)), taught, alone, higher_is_better=higher)
    assert result.verdict == verdict
    sign = 1 if higher else -1
    assert result.difference == pytest.approx(sign * (np.mean(taught) - np.mean(alone)))
    assert result.with_teacher == tuple(taught)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_about_one_verdict_in_twenty_is_wrong(seeds: int) -> None:
    """Otherwise 'helped' is found in noise more often than the 95% interval allows."""
    random = np.random.default_rng(7)
    trials = 2000
    wrong = sum(
        compare_scores(
            "accuracy", range(seeds), list(random.normal(0.9, 0.01, seeds)), list(random.normal(0.9, 0.01, seeds))
        ).verdict
        != "no evidence"
        for _ in range(trials)
    )
    low, high = stats.binom.interval(0.9999, trials, 0.05)
    assert low <= wrong <= high


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_accuracies_on_few_images_give_no_more_false_verdicts(seeds: int) -> None:
    """Otherwise two equal differences of whole images pass for certainty: their spread is 0 by chance."""
    random = np.random.default_rng(8)
    trials, images = 2000, 500
    wrong = sum(
        compare_scores(
            "accuracy", range(seeds), *(list(random.binomial(images, 0.95, seeds) / images) for _ in range(2))
        ).verdict
        != "no evidence"
        for _ in range(trials)
    )
    assert wrong <= stats.binom.ppf(0.9999, trials, 0.05)


def test_an_effect_is_found() -> None:
    """Otherwise the verdict is always 'no evidence'."""
    random = np.random.default_rng(9)
    found = sum(
        compare_scores(
            "accuracy", range(5), list(random.normal(0.93, 0.01, 5)), list(random.normal(0.9, 0.01, 5))
        ).verdict
        == "helped"
        for _ in range(200)
    )
    power = 1 - stats.nct.cdf(stats.t.ppf(0.975, 4), 4, 0.03 / (0.01 * math.sqrt(2)) * math.sqrt(5))
    assert found >= stats.binom.ppf(0.0001, 200, power)


@pytest.mark.parametrize(
    ("seeds", "taught", "alone"),
    [([1], [0.5], [0.4]), ([], [], []), ([1, 2], [0.5], [0.4, 0.3]), ([1, 2, 3], [0.5, 0.6], [0.4, 0.3])],
)
def test_too_few_seeds_or_unequal_arms_are_refused(seeds: Any, taught: Any, alone: Any) -> None:
    """Otherwise one lucky seed is a verdict, or pairs are formed across seeds."""
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        compare_scores("score", seeds, taught, alone)


def test_a_score_that_is_no_number_gives_no_verdict() -> None:
    """Otherwise a diverged run ends in an AttributeError of the statistics module, or in a verdict."""
    with pytest.raises(ConfigError, match=r"finite number; seed 1 has nan with the teacher"):
        compare_scores("score", [0, 1], [0.5, math.nan], [0.4, 0.4])


@pytest.mark.parametrize("confidence", [95, 0, 1, -0.5])
def test_a_confidence_that_is_no_share_is_refused(confidence: float) -> None:
    """Otherwise 95 instead of 0.95 gives an endless interval and 'no evidence' for ever."""
    with pytest.raises(ConfigError, match="confidence"):
        compare_scores("score", [0, 1], [0.5, 0.6], [0.4, 0.4], confidence=confidence)


def test_both_arms_are_trained_for_every_seed_in_pairs() -> None:
    """Otherwise the arms differ in more than the teacher."""
    calls: list[tuple[int, bool]] = []

    def train(seed: int, with_teacher: bool) -> float:
        calls.append((seed, with_teacher))
        return seed / 100 + (0.5 if with_teacher else 0.1)

    result = compare(train, [3, 5, 8], metric="accuracy")
    assert calls == [(3, True), (3, False), (5, True), (5, False), (8, True), (8, False)]
    assert result.seeds == (3, 5, 8)
    assert result.with_teacher == pytest.approx((0.53, 0.55, 0.58))
    assert result.metric == "accuracy"


def test_one_seed_is_refused_before_anything_is_trained() -> None:
    """Otherwise an hour of training ends in 'needs at least 2 seeds'."""
    calls: list[int] = []

    def train(seed: int, with_teacher: bool) -> float:
        calls.append(seed)
        return 0.5

    with pytest.raises(ConfigError, match="at least 2 seeds"):
        compare(train, [0])
    assert calls == []


def test_a_comparison_is_plain_data() -> None:
    """Otherwise comparison.json cannot be written."""
    result = compare_scores("accuracy", [0, 1], [0.5, 0.6], [0.4, 0.4])
    assert json.loads(json.dumps(result.as_dict()))["verdict"] == result.verdict


def test_the_sentence_names_what_the_student_was_compared_with() -> None:
    """Otherwise 'helped' against an untrained student reads like 'helped' against a trained one."""
    result = compare_scores("accuracy", [0, 1, 2], [0.5, 0.6, 0.7], [0.1, 0.2, 0.3], control="the untrained student")
    assert result.sentence.startswith("Distillation helped, compared with the untrained student: +0.4 in accuracy")
    assert "3 seeds" in result.sentence
