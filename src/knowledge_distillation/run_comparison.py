"""The control arm of a run: the same training again, with and without the teacher, for several seeds."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_model
from torch import nn

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.evaluation.arms import CONTROL, DISTILLED, Trial, compare_arms
from knowledge_distillation.evaluation.comparison import Comparison
from knowledge_distillation.evaluation.unfinished import UnfinishedTrials
from knowledge_distillation.losses import catalogue
from knowledge_distillation.objective import Term, as_objective
from knowledge_distillation.objective.control import smoothed
from knowledge_distillation.objective.presets import PRESETS
from knowledge_distillation.objective.term import ALL, OWN
from knowledge_distillation.teachers import CachedTeacher
from knowledge_distillation.training.bare import Bare, score_untrained, train_bare
from knowledge_distillation.training.control import Control, control_of
from knowledge_distillation.training.loaders import loader_name
from knowledge_distillation.training.pipelines import AccuracyPipeline, higher_is_better
from knowledge_distillation.training.plan import TrainingPlan
from knowledge_distillation.training.random_state import random_state, restore_random_state

logger = logging.getLogger(__name__)
SMOOTHED = "label_smoothing"
FEW = 100
"""Validation samples below which their number is worth a note."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished training can stand for in a comparison.

    Attributes:
        scores: of the student after the last step, by validation loader.
        steps: optimiser steps.
        drawn: stands for the random numbers it drew.
        is_whole: whether the scores are those after the last step of a training from the start.
        weights: stand for the student.
    """

    scores: Mapping[str, float]
    steps: int
    drawn: str
    is_whole: bool
    weights: tuple[float, ...]


def compare_run(
    plan: TrainingPlan,
    finished: Finished,
    directory: Path,
    seeds: int | Sequence[int],
    *,
    arms: Sequence[str],
    equal: str,
    metric: str | None,
    progress: Callable[[str], None] | None,
) -> Comparison:
    """Compare a run with its control; arguments, errors and what is written as of `Run.compare`."""
    chosen, name, others = _checked_seeds(seeds, plan.seed), _checked_metric(plan, metric), checked_arms(arms)
    if equal not in ("both", "steps"):
        raise ConfigError(f"equal must be 'both' (equal steps and equal time) or 'steps', got {equal!r}.")
    _check_plan(plan)
    items = _items((plan.val_loaders or {})[name])
    before = random_state()
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(max(level, logging.WARNING))  # its lines about every training would hide ours
    unfinished = directory / "control.unfinished"
    try:
        control = control_of(plan)
        run = {"weights": finished.weights, "scores": finished.scores, "steps": finished.steps}
        kept = UnfinishedTrials(
            directory / "comparison.unfinished.json",
            {"run": run, "metric": name, "control": control.says, "first seed": chosen[0]},
        )
        if unfinished.exists():
            kept.read()
        trainings = _Arms(plan, finished, control, name, unfinished, kept, progress or logger.info)
        for arm in others:
            trainings.objective(arm)  # a wrong arm is refused before anything is trained
        found = compare_arms(
            trainings.train,
            chosen,
            others=others,
            at_equal_time=equal == "both",
            metric=name,
            higher_is_better=higher_is_better(plan.pipeline or AccuracyPipeline(), name),
            resolution=1 / items if plan.pipeline is None and items else 0.0,
            control=control.says,
            notes=[*([control.note] if control.note else []), *_notes(plan, items)],
        )
        if is_first_process():
            os.replace(unfinished, directory / "control.safetensors")
            (directory / "comparison.json").write_text(json.dumps(found.as_dict(), indent=2), encoding="utf-8")
            kept.path.unlink(missing_ok=True)
    finally:
        lightning.setLevel(level)
        restore_random_state(before)
    return found


@dataclass(slots=True)
class _Arms:
    """Trains one arm for one seed."""

    plan: TrainingPlan
    finished: Finished
    control: Control
    metric: str
    keep: Path
    """Where the first control waits for the verdict: an earlier comparison keeps its own until then."""
    kept: UnfinishedTrials
    progress: Callable[[str], None]
    controls: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Steps of each seed's control, at equal steps, and what it drew."""

    def objective(self, arm: str) -> Any:
        if arm in (CONTROL, SMOOTHED):
            terms = copy.deepcopy(dict(self.control.terms))
            return terms if arm == CONTROL else smoothed(terms)
        return as_objective(arm)

    def train(self, seed: int, arm: str, steps: int | None) -> Trial:
        if arm == DISTILLED and seed == self.plan.seed and self._stands():
            return Trial(self.finished.scores[self.metric], self.finished.steps, weights=self.finished.weights)
        said = f"seed {seed}: {'without the teacher' if arm == CONTROL else arm}{f', {steps} steps' if steps else ''}"
        before = self.kept.get((seed, arm, steps))
        if before is None:
            self.progress(said)
            trial, drawn = self._trained(seed, arm, steps)
        else:
            trial, drawn = before
            self.progress(f"{said}: from the comparison that broke off")
        if arm == CONTROL and steps is None:
            self.controls[seed] = (trial.steps, drawn)
        self.progress(f"  {self.metric} {trial.score:.4f} after {trial.steps} steps")
        return trial

    def _trained(self, seed: int, arm: str, steps: int | None) -> tuple[Trial, str]:
        made = self._made(seed, arm, steps)
        seconds = made.seconds if made.steps else None
        trial = Trial(made.scores[self.metric], made.steps, seconds, made.seen, made.weights)
        self.kept.add((seed, arm, steps), trial, made.drawn)
        if is_first_process():
            if arm == CONTROL and not self.controls:
                self.kept.path.unlink(missing_ok=True)  # another comparison's must not stand beside this control
                save_model(made.student, str(self.keep))
            self.kept.write()
        return trial, made.drawn

    def _made(self, seed: int, arm: str, steps: int | None) -> Bare:
        changes: dict[str, Any] = {
            "seed": seed,
            "val_loaders": {self.metric: (self.plan.val_loaders or {})[self.metric]},
        }
        self.plan.rewind(seed)
        if arm == CONTROL and not self.control.terms:
            nothing = {"own": Term(OWN, student=ALL)}
            return score_untrained(self.plan.again(**changes, teacher=None, objective=nothing), self.keep.parent)
        if arm != DISTILLED:
            changes["objective"] = self.objective(arm)
        if arm in (CONTROL, SMOOTHED) and not isinstance(self.plan.teacher, CachedTeacher):
            changes["teacher"] = None  # a cache stays: it brings the views that the distilled arm sees
        full = self.controls[seed][0] if steps else 0
        return train_bare(self.plan.again(**changes), self.keep.parent, steps=steps, full_steps=full)

    def _stands(self) -> bool:
        """Whether the finished run is the pair of its seed's control, so that it need not be trained again."""
        alone = self.controls[self.plan.seed]
        same = alone == (self.finished.steps, self.finished.drawn)
        return self.finished.is_whole and self.metric in self.finished.scores and (same or not self.control.terms)


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _checked_seeds(seeds: Any, first: int) -> list[int]:
    chosen: list[Any]
    if is_whole(seeds):
        chosen = list(range(first, first + seeds))
    else:
        chosen = list(seeds) if isinstance(seeds, Sequence) and not isinstance(seeds, str) else [None]
    whole = all(is_whole(seed) and 0 <= seed < 2**32 for seed in chosen)
    if len(chosen) < 2 or not whole or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"seeds must be a number of at least 2, or as many different whole numbers from 0 to 2**32 - 1; got "
            f"{seeds!r}. One seed cannot tell a gain from luck, and a repeated one is no second training."
        )
    return chosen


def _checked_metric(plan: TrainingPlan, metric: str | None) -> str:
    if not plan.val_loaders:
        raise ConfigError(
            "A comparison scores both arms on a validation loader, and the run has none. Distil with "
            "val_loaders={'test': loader}."
        )
    return loader_name(metric, plan.val_loaders)


def checked_arms(arms: Any) -> list[str]:
    """The arms besides the control, each once.

    Raises:
        ConfigError: if one is neither "labels", "label_smoothing", nor an objective or loss by name.
    """
    if isinstance(arms, str) or not isinstance(arms, Sequence):
        raise ConfigError(f"arms must be a sequence of names, such as ('labels', 'label_smoothing'); got {arms!r}.")
    known = [CONTROL, SMOOTHED, *PRESETS, *catalogue()]
    for arm in arms:
        if arm not in known:
            raise ConfigError(f"There is no arm named {arm!r}. {nearest(str(arm), known)}")
    return [arm for arm in dict.fromkeys(arms) if arm != CONTROL]


def check_learns(objective: Any) -> None:
    """Raise ConfigError if no term of the objective learns from a teacher: there is nothing to compare then."""
    if not as_objective(copy.deepcopy(objective)).learns_from_teacher:
        raise ConfigError(
            "Nothing in this run's objective learns from a teacher, so both arms would be the same training. Compare a "
            "run that was distilled, such as with objective='kd'."
        )


def _check_plan(plan: TrainingPlan) -> None:
    check_learns(plan.objective)
    if isinstance(plan.train_loader, Iterator):
        raise ConfigError(
            "The train loader can be walked only once, so no second arm can see its batches. Pass a DataLoader."
        )
    if plan.trainer.get("max_time"):
        raise ConfigError(
            "trainer's max_time ends each arm by the clock, so no two would take the same steps. Train by max_epochs "
            "or max_steps; equal time is compared besides."
        )


def _items(loader: Any) -> int | None:
    """Validation samples, where the loader knows its dataset's length."""
    dataset = getattr(loader, "dataset", None)
    return len(dataset) if isinstance(dataset, Sized) else None


def _notes(plan: TrainingPlan, items: int | None) -> Iterator[str]:
    if isinstance(plan.student, nn.Module):
        yield (
            "The student was given as a module: every pair starts from its weights, and seeds differ in the order of "
            "the data and in dropout only. Pass a callable that builds it for a start of its own in every pair."
        )
    if items == 1:
        yield (
            "The validation loader holds one sample, so a score can take two values only: the verdict says next to "
            "nothing. Validate on more."
        )
    elif items is not None and items < FEW:
        yield (
            f"The validation loader holds {items} samples. The interval speaks of other trainings, not of other "
            f"samples: one of them more or less right moves an accuracy by {100 / items:.1f} points."
        )
    if any(isinstance(callback, EarlyStopping) for callback in _callbacks(plan)):
        yield "EarlyStopping was left out, so that both arms spend the whole budget."


def _callbacks(plan: TrainingPlan) -> list[Any]:
    given = plan.trainer.get("callbacks") or []
    return list(given) if isinstance(given, (list, tuple)) else [given]
