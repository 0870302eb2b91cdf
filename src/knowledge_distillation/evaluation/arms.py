"""The arms of a comparison: which trainings are made, in which order, and what is compared with what."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.comparison import Comparison, compare_scores

DISTILLED = "distilled"
CONTROL = "labels"
SAME_TIME = 1.02
"""Controls whose budget of time gives fewer than 2% more steps are not trained again: clocks are no finer."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of one arm.

    Attributes:
        score: of the student at the end.
        steps: optimiser steps; 0 for a student that is scored untrained.
        seconds: of training, without validation; None if they were not measured under the conditions of the others.
        seen: stands for the batches it saw, one entry for each epoch; empty if nobody looked.
        weights: stands for the trained weights; equal for students that are equal to the bit.
    """

    score: float
    steps: int = 0
    seconds: float | None = None
    seen: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


Train = Callable[[int, str, int | None], Trial]
"""(seed, arm, optimiser steps or None for as many as the distilled arm takes) -> its trial."""


def compare_arms(
    train: Train,
    seeds: Sequence[int],
    *,
    others: Sequence[str] = (),
    at_equal_time: bool = True,
    metric: str = "score",
    higher_is_better: bool = True,
    resolution: float = 0.0,
    control: str = "the same student without the teacher",
    notes: Iterable[str] = (),
) -> Comparison:
    """Train the distilled arm and the control for every seed, then compare them at equal steps and at equal time.

    For equal time the control takes as many steps as fit in the time of the distilled arm: its steps x the median over
    seeds of distilled seconds a step / control seconds a step, of two trainings that ran one after the other.

    Args:
        train: trains one arm. The trials of a seed must start from the same weights and see the same batches. The
            control of a seed is asked for before its other arms.
        seeds: at least 2.
        others: further arms, each compared with the control at equal steps.
        at_equal_time: whether to train the control a second time, for as long as the distilled arm took.
        metric: name of the score.
        higher_is_better: which way is up.
        resolution: the smallest step that a score can take.
        control: what the control is, in words.
        notes: go into the result, before its own.

    Raises:
        ConfigError: if there are fewer than 2 seeds, before anything is trained; at the first score that is no finite
            number; at the second seed if it gave the same student as the first.
    """
    if len(seeds) < 2:
        raise ConfigError(f"A comparison needs at least 2 seeds, got {len(seeds)}: one cannot tell a gain from luck.")
    trials: dict[str, list[Trial]] = {arm: [] for arm in (CONTROL, DISTILLED, *others)}
    for place, seed in enumerate(seeds):
        for arm, made in trials.items():
            made.append(_checked(train(seed, arm, None), arm, seed))
        if place == 1:
            for made in trials.values():
                _check_seeds_matter(made, seeds)
    said = [*notes, *_unpaired(trials, seeds)]
    shared: dict[str, Any] = {"higher_is_better": higher_is_better, "resolution": resolution}
    alone = trials[CONTROL]
    longer, timed = None, ""
    if at_equal_time:
        longer, timed = _equal_time(train, seeds, trials[DISTILLED], alone)
        said += [timed] if timed else []

    def against(arm: str, controls: Sequence[Trial], budget: str, **facts: Any) -> Comparison:
        return compare_scores(
            metric,
            seeds,
            [trial.score for trial in trials[arm]],
            [trial.score for trial in controls],
            control=f"{control}{budget}" if controls[0].steps else control,
            **_budgets(trials[arm], controls),
            **shared,
            **facts,
        )

    return against(
        DISTILLED,
        alone,
        ", at equal steps",
        at_equal_time=against(DISTILLED, longer, ", at equal time") if longer else None,
        arms={arm: against(arm, alone, ", at equal steps") for arm in others},
        notes=tuple(said),
    )


def _checked(trial: Trial, arm: str, seed: int) -> Trial:
    if not math.isfinite(trial.score):
        raise ConfigError(
            f"Every score must be a finite number; the {arm} arm of seed {seed} has {trial.score}. Its training "
            "diverged, or the pipeline divides by nothing: no verdict can be drawn from it. Lower the learning rate, "
            "or look into the pipeline."
        )
    return trial


def _check_seeds_matter(made: Sequence[Trial], seeds: Sequence[int]) -> None:
    first, second = made[:2]
    if second.steps and second.weights and first.weights == second.weights:
        raise ConfigError(
            f"Every seed must be a training of its own, and seeds {seeds[0]} and {seeds[1]} gave the same student to "
            "the bit: same starting weights, same order of the data. Any number of them would be one, and the verdict "
            "luck. Shuffle the training data, or pass the student as a callable that builds it."
        )


def _unpaired(trials: Mapping[str, Sequence[Trial]], seeds: Sequence[int]) -> Iterable[str]:
    for seed, alone, taught in zip(seeds, trials[CONTROL], trials[DISTILLED], strict=True):
        epochs = [n for n, (a, b) in enumerate(zip(alone.seen, taught.seen, strict=False), 1) if a != b]
        if epochs:
            yield (
                f"The arms of seed {seed} did not see the same batches from epoch {epochs[0]} on: the loader draws "
                "random numbers that no seed governs. The pairs are less alike, so the interval is wider than it need "
                "be."
            )
            return


def _equal_time(
    train: Train, seeds: Sequence[int], taught: Sequence[Trial], alone: Sequence[Trial]
) -> tuple[Sequence[Trial] | None, str]:
    """Controls with the distilled arm's budget of time, and a note if they are those of equal steps; or None."""
    pairs = [(_seconds_a_step(one), _seconds_a_step(other)) for one, other in zip(taught, alone, strict=True)]
    ratios = [one / other for one, other in pairs if one is not None and other]
    if not ratios:
        return None, ""
    ratio = statistics.median(ratios)
    steps = int(taught[0].steps * ratio)
    if ratio < SAME_TIME or steps <= alone[0].steps:
        return alone, "A step costs as much without the teacher as with it, so equal steps are equal time."
    return [_checked(train(seed, CONTROL, steps), "equal-time control", seed) for seed in seeds], ""


def _seconds_a_step(trial: Trial) -> float | None:
    return trial.seconds / trial.steps if trial.steps and trial.seconds is not None else None


def _budgets(arm: Sequence[Trial], controls: Sequence[Trial]) -> dict[str, Any]:
    steps, seconds = {}, {}
    for name, made in (("with_teacher", arm), ("without_teacher", controls)):
        steps[name] = max(trial.steps for trial in made)
        measured = [trial.seconds for trial in made if trial.seconds is not None]
        if measured:
            seconds[name] = round(statistics.fmean(measured), 4)
    return {"steps": steps, "seconds": seconds}
