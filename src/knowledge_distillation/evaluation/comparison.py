"""Did distillation help? Scores with and without the teacher, paired by seed, and a verdict with its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.intervals import bootstrap, paired_t

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
        verdict: "helped" if that interval lies above 0, "hurt" if below, else "no evidence".
        bootstrap_low, bootstrap_high: the same by the percentile bootstrap over pairs; no verdict rests on it.
        control: what the arm without the teacher is, in words.
        steps: optimiser steps of one training, by arm ("with_teacher", "without_teacher"); empty where not known.
        seconds: mean seconds of one training, validation left out, by arm; empty where not known.
        at_equal_time: the same with a control that trained for as long as the distilled student; None if not done.
        arms: further arms by name, each as `with_teacher` of a comparison with the same control.
        notes: what a reader must know besides.
    """

    metric: str
    seeds: tuple[int, ...]
    with_teacher: tuple[float, ...]
    without_teacher: tuple[float, ...]
    difference: float
    low: float
    high: float
    verdict: Verdict
    bootstrap_low: float
    bootstrap_high: float
    control: str = "the same student without the teacher"
    steps: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    at_equal_time: Comparison | None = None
    arms: Mapping[str, Comparison] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with what it was measured against."""
        found = {"helped": "Distillation helped", "hurt": "Distillation hurt", "no evidence": "No evidence either way"}
        return (
            f"{found[self.verdict]}, compared with {self.control}: {self.difference:+.4g} in {self.metric} (95% "
            f"interval {self.low:+.4g} to {self.high:+.4g}, paired over {len(self.seeds)} seeds)."
        )

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
    resolution: float = 0.0,
    **facts: Any,
) -> Comparison:
    """Compare two arms by a paired t interval over seeds.

    Where the teacher has no effect and the differences are about normal, the verdict is wrong in 5% of comparisons at
    a confidence of 0.95: "helped" in 2.5%, "hurt" in 2.5%.

    Args:
        metric: its name.
        seeds: at least 2; a single seed cannot tell a gain from luck.
        with_teacher: one score a seed.
        without_teacher: one score a seed, in the same order.
        higher_is_better: False turns the sign of the difference.
        confidence: of both intervals, between 0 and 1.
        resolution: the smallest step that a score can take; see `paired_t`.
        facts: further fields of `Comparison`.

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
    low, high = paired_t(differences, confidence, resolution=resolution)
    bootstrap_low, bootstrap_high = bootstrap(differences, confidence)
    return Comparison(
        metric=metric,
        seeds=tuple(seeds),
        with_teacher=tuple(with_teacher),
        without_teacher=tuple(without_teacher),
        difference=statistics.fmean(differences),
        low=low,
        high=high,
        verdict="helped" if low > 0 else "hurt" if high < 0 else "no evidence",
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        **facts,
    )


def compare(
    train: Callable[[int, bool], float],
    seeds: Sequence[int],
    *,
    metric: str = "score",
    higher_is_better: bool = True,
) -> Comparison:
    """Train both arms for every seed and compare them; for trainings of your own. `Run.compare` does it for `distill`.

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
