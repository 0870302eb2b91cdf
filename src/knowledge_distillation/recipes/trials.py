"""The trials of a sweep: each a training with values that Optuna chose, kept in the sweep's database."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from knowledge_distillation.errors import DistillationError, MissingExtraError
from knowledge_distillation.recipes.reading import Recipe, with_settings
from knowledge_distillation.recipes.rebuilding import TRIALS
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.recipes.search_space import Space
from knowledge_distillation.training.pipelines import AccuracyPipeline, higher_is_better
from knowledge_distillation.ways.stages import finished

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE = "sweep.db"
NAME = "sweep"
WHY = "why"
"""What a failed trial keeps its reason under."""
FIRST = 5
"""Trials before any is pruned."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What every trial of a sweep shares.

    Attributes:
        recipe: to change.
        space: its settings to try.
        seed: of the sampler.
        metric: the validation loader whose score is sought.
        home: the sweep's directory.
        own: the user's models and data sets by name.
    """

    recipe: Recipe
    space: Space
    seed: int
    metric: str
    home: Path
    own: Mapping[str, Any]

    def study(self) -> Study:
        """The study in the sweep's database, made anew where there is none."""
        optuna = load_optuna()
        study: Study = optuna.create_study(
            storage=f"sqlite:///{(self.home / DATABASE).resolve()}",
            study_name=NAME,
            direction="maximize" if higher_is_better(AccuracyPipeline(), self.metric) else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST),
            load_if_exists=True,
        )
        return study

    def run(self, study: Study, number: int) -> None:
        """Train one trial: the one that was broken off, or the next."""
        optuna = load_optuna()
        # a seed for each trial, so that a sweep that is resumed draws what it would have drawn
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + number)
        left = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        trial = optuna.trial.Trial(study, left[0]._trial_id) if left else study.ask()
        chosen = {path: values.suggest(trial, path) for path, values in self.space.items()}
        place = self.home / TRIALS / f"{trial.number:03d}"
        try:
            score = self._score(with_settings(self.recipe, chosen), trial, place)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (DistillationError, torch.OutOfMemoryError) as error:
            trial.set_user_attr(WHY, f"{type(error).__name__}: {error}")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            if math.isfinite(score):
                study.tell(trial, score)
            else:
                trial.set_user_attr(WHY, f"The score was {score}.")
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)  # needed to resume this trial, which has ended

    def _score(self, recipe: Recipe, trial: Trial, place: Path) -> float:
        method = (recipe.method or {}).get("name", "distill")
        done = finished(place)
        if done is not None:
            return done[self.metric]
        begun = any(place.glob("checkpoints/last.ckpt")) or any(place.glob("*/checkpoints/last.ckpt"))
        if not begun:
            shutil.rmtree(place, ignore_errors=True)  # broken off before anything could be gone on with
        run = run_recipe(
            recipe,
            directory=place,
            resume="auto" if begun else None,
            own=self.own,
            teachers=self.home if self._shares_teacher else None,
            callbacks=[_Prune(trial, self.metric)] if method == "distill" else [],
        )
        return run.scores[self.metric]

    @property
    def _shares_teacher(self) -> bool:
        parts = [path.split(".") for path in self.space]
        return not any(part[0] in ("teacher", "data") or part == ["training", "seed"] for part in parts)

    def rows(self, study: Study) -> list[dict[str, Any]]:
        """The trials that have ended, in their order; see `sweeping.Sweep`."""
        return [self._row(trial) for trial in ended(study)]

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        values = {
            path: json.loads(trial.params[path]) if isinstance(trial.params[path], str) else trial.params[path]
            for path in self.space
            if path in trial.params
        }
        return {
            "number": trial.number,
            "state": states[trial.state.name],
            "score": trial.value if trial.state.name == "COMPLETE" else None,
            "values": values,
            "epochs": len(trial.intermediate_values) or None,
            "why": trial.user_attrs.get(WHY),
        }

    def best(self, study: Study) -> dict[str, Any] | None:
        """The first of the trials with the best score."""
        complete = [row for row in self.rows(study) if row["state"] == "complete"]
        up = 1 if study.direction.name == "MAXIMIZE" else -1
        return max(complete, key=lambda row: (up * row["score"], -row["number"]), default=None)


class _Prune(Callback):
    """Tells the trial its score after each epoch, and ends it where earlier trials were better."""

    def __init__(self, trial: Trial, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = self.trial.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
        if trainer.current_epoch not in known:  # an epoch that is trained again after a resume
            self.trial.report(float(trainer.callback_metrics[self.metric]), trainer.current_epoch)
        if self.trial.should_prune():
            raise load_optuna().TrialPruned


def ended(study: Study) -> list[FrozenTrial]:
    """The trials that are over, pruned and failed ones included."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def load_optuna() -> Any:
    """The package optuna.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError(
            "A sweep needs the package optuna, which is not installed. "
            "Run: pip install 'knowledge-distillation-toolkit[sweep]'"
        ) from error
    return optuna
