"""Did distillation help? Scores with and without the teacher, paired by seed, and a verdict with its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from knowledge_distillation.errors import ConfigError

Verdict = Literal["helped", "no evidence", "hurt"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms that differ in the teacher only, paired by seed.

    Attributes:
        metric: what was scored.
        seeds: one for each pair.
        with_teacher: score of each seed, distilled.
        without_teacher: score of each seed, same student, data order and steps, no teacher.
        difference: mean of the paired differences, positive when the teacher helped.
        low, high: the 95% paired-t interval of that mean.
        verdict: "helped" if the interval lies above 0, "hurt" if below, else "no evidence".
    """

    metric: str
    seeds: tuple[int, ...]
    with_teacher: tuple[float, ...]
    without_teacher: tuple[float, ...]
    difference: float
    low: float
    high: float
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def compare_scores(
    metric: str,
    seeds: Sequence[int],
    with_teacher: Sequence[float],
    without_teacher: Sequence[float],
    *,
    higher_is_better: bool = True,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two arms by a paired t interval over seeds.

    Args:
        metric: its name.
        seeds: at least 2; a single seed cannot tell a gain from luck.
        with_teacher: one score a seed.
        without_teacher: one score a seed, in the same order.
        higher_is_better: False turns the sign of the difference.
        confidence: of the interval, between 0 and 1.

    Raises:
        ConfigError: if there are fewer than 2 seeds, the lengths differ, a score is NaN or infinite, or the
            confidence does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence}.")
    if len(seeds) < 2 or not len(seeds) == len(with_teacher) == len(without_teacher):
        raise ConfigError(
            f"A comparison needs at least 2 seeds with one score in each arm; got {len(seeds)} seeds, "
            f"{len(with_teacher)} and {len(without_teacher)} scores."
        )
    for seed, pair in zip(seeds, zip(with_teacher, without_teacher, strict=True), strict=True):
        if not all(map(math.isfinite, pair)):
            raise ConfigError(
                f"Every score must be a finite number; seed {seed} has {pair[0]} with the teacher and {pair[1]} "
                "without. That training diverged: no verdict can be drawn from it."
            )
    sign = 1.0 if higher_is_better else -1.0
    differences = [sign * (a - b) for a, b in zip(with_teacher, without_teacher, strict=True)]
    mean = statistics.fmean(differences)
    spread = statistics.stdev(differences) / math.sqrt(len(differences))
    margin = student_t_quantile(0.5 + confidence / 2, len(differences) - 1) * spread
    low, high = mean - margin, mean + margin
    verdict: Verdict = "helped" if low > 0 else "hurt" if high < 0 else "no evidence"
    return Comparison(metric, tuple(seeds), tuple(with_teacher), tuple(without_teacher), mean, low, high, verdict)


def compare(
    train: Callable[[int, bool], float],
    seeds: Sequence[int],
    *,
    metric: str = "score",
    higher_is_better: bool = True,
) -> Comparison:
    """Train both arms for every seed and compare them.

    Args:
        train: (seed, with teacher) -> the score of a student trained so. Both calls of a seed must start from the
            same weights and see the same batches.
        seeds: at least 2.
        metric: name of the score.
        higher_is_better: which way is up.

    Raises:
        ConfigError: if there are fewer than 2 seeds, before anything is trained; or if a score is no finite number.
    """
    if len(seeds) < 2:
        raise ConfigError(f"A comparison needs at least 2 seeds, got {len(seeds)}: one cannot tell a gain from luck.")
    scores = [(train(seed, True), train(seed, False)) for seed in seeds]
    return compare_scores(
        metric,
        seeds,
        [distilled for distilled, _ in scores],
        [alone for _, alone in scores],
        higher_is_better=higher_is_better,
    )


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
