"""Sweep over a recipe: train it with values that Optuna chooses, and write the best recipe out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from knowledge_distillation.errors import ConfigError, DistillationError, MissingExtraError, nearest
from knowledge_distillation.recipes.methods import CHAINS
from knowledge_distillation.recipes.reading import Recipe, as_yaml, with_settings
from knowledge_distillation.recipes.rebuilding import SWEEP, TRIALS
from knowledge_distillation.recipes.running import check_builds, run_recipe
from knowledge_distillation.recipes.search_space import Space, examples, read_space
from knowledge_distillation.training.pipelines import AccuracyPipeline, higher_is_better
from knowledge_distillation.training.places import next_free
from knowledge_distillation.ways.stages import finished, how_to_continue

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE, BEST = "sweep.db", "best.yaml"
NAME = "sweep"
WHY = "why"
"""What a failed trial keeps its reason under."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found.

    Attributes:
        directory: holds sweep.json, sweep.db, best.yaml, trials/, and the teacher where the recipe trains one.
        metric: the validation loader whose score is sought.
        trials: {"number", "state", "score", "values", "epochs", "why"} each; state is "complete", "pruned", "failed".
        best: the entry of the best trial.
    """

    directory: Path
    metric: str
    trials: tuple[Mapping[str, Any], ...]
    best: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "directory": str(self.directory), "recipe": str(self.directory / BEST)}


def sweep_recipe(
    recipe: Recipe,
    over: Iterable[str] = (),
    *,
    trials: int = 20,
    seed: int = 0,
    metric: str | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    own: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Sweep:
    """Try values for settings of a recipe; keep those with the best validation score after the last epoch.

    Values are drawn by Optuna's TPE sampler. After each epoch a trial whose score is below the median of earlier trials
    at that epoch is pruned, from the sixth trial on; methods of several trainings are not pruned. Every trial trains
    with the recipe's own seed. A teacher that the recipe trains is trained once, unless the sweep changes the teacher
    or the data.

    A sweep that was killed goes on where it stopped, within the trial's last epoch, and chooses what it would have
    chosen without. One process works on a sweep at a time.

    Args:
        recipe: whose sweep section, if it has one, says what to try.
        over: "a.b=values" each; see `search_space.read_space`.
        trials: how many in all, those before a resume included; pruned and failed ones count.
        seed: of the sampler.
        metric: the validation loader whose score is sought; default: the first.
        directory: where to write; default: the next free runs/sweep-NNN.
        resume: go on with the sweep in the directory.
        own: the user's models and data sets by name; see `run_recipe`.
        progress: called with a line after each trial.

    Returns:
        The `Sweep`. best.yaml in its directory is a recipe for `kd train`.

    Raises:
        ConfigError: if an argument or a value to try is wrong, the directory holds another sweep, or no trial came to
            a score.
        MissingExtraError: if Optuna is not installed.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ConfigError(f"A sweep needs a whole number of trials, at least 1; got {trials!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ConfigError(f"The seed of a sweep must be a whole number from 0 to 2**31 - 1, got {seed!r}.")
    space = read_space(recipe, over)
    plain = replace(recipe, sweep=None, training={k: v for k, v in recipe.training.items() if k != "directory"})
    loaders: list[str] = []
    for example in examples(plain, space):
        loaders = list(check_builds(example, own).validation)
    if not loaders or metric not in (None, *loaders):
        raise ConfigError(
            f"A sweep seeks the best score on a validation loader, and there is none named {metric!r}. "
            f"{nearest(str(metric), loaders)}"
        )
    home = Path(directory or next_free(Path("runs"), "sweep-{:03d}"))
    job = _Job(plain, space, seed, metric or loaders[0], home, own or {})
    study = job.study(resume)
    while (number := len(_ended(study))) < trials:
        job.run(study, number)
        job.write(study)
        if progress is not None:
            progress(job.line(study, number, trials))
    return job.found(study)


@dataclass(frozen=True, slots=True)
class _Job:
    """A sweep and where it lies."""

    recipe: Recipe
    space: Space
    seed: int
    metric: str
    home: Path
    own: Mapping[str, Any]

    def study(self, resume: bool) -> Study:
        """The study in the sweep's database, made anew or gone on with."""
        optuna = load_optuna()
        file = self.home / SWEEP
        asked = {
            "metric": self.metric,
            "seed": self.seed,
            "over": {path: str(values) for path, values in self.space.items()},
            "recipe": as_yaml(asdict(self.recipe)),
        }
        if file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            if not resume:
                raise ConfigError(
                    f"{self.home} already holds a sweep. Choose another directory, or go on with --resume."
                )
            for name, value in asked.items():
                if before[name] != value:
                    raise ConfigError(
                        f"The sweep in {self.home} was begun with another {name}: {before[name]!r}, now {value!r}. Go "
                        "on with what it was begun with, or begin another in a directory of its own."
                    )
        else:
            if resume:
                raise ConfigError(f"There is no sweep in {self.home} to go on with. Leave --resume out to begin one.")
            self.home.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(asked, indent=2), encoding="utf-8")
        study: Study = optuna.create_study(
            storage=f"sqlite:///{(self.home / DATABASE).resolve()}",
            study_name=NAME,
            direction="maximize" if higher_is_better(AccuracyPipeline(), self.metric) else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
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
        recipe = with_settings(self.recipe, {path: values.suggest(trial, path) for path, values in self.space.items()})
        place = self.home / TRIALS / f"{trial.number:03d}"
        try:
            score = self._score(recipe, trial, place)
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
        resume = "auto" if method in CHAINS and place.exists() else how_to_continue(place)
        run = run_recipe(
            recipe,
            directory=place,
            resume=resume,
            own=self.own,
            teachers=self.home if self._shares_teacher else None,
            callbacks=[_Prune(trial, self.metric)] if method == "distill" else [],
        )
        return run.scores[self.metric]

    @property
    def _shares_teacher(self) -> bool:
        parts = [path.split(".") for path in self.space]
        return not any(part[0] in ("teacher", "data") or part == ["training", "seed"] for part in parts)

    def write(self, study: Study) -> None:
        """Write the trials to sweep.json, and the best recipe so far to best.yaml."""
        file = self.home / SWEEP
        asked = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**asked, "trials": self._rows(study)}, indent=2), encoding="utf-8")
        best = self._best(study)
        if best is not None:
            found = {k: v for k, v in asdict(with_settings(self.recipe, best["values"])).items() if v or k == "teacher"}
            _written(self.home / BEST, as_yaml(found))

    def found(self, study: Study) -> Sweep:
        """The result."""
        rows, best = self._rows(study), self._best(study)
        if best is None:
            said = next((str(row["why"]) for row in reversed(rows) if row["why"]), "every trial was pruned")
            raise ConfigError(f"None of {len(rows)} trials in {self.home} came to a score. The last one said: {said}")
        return Sweep(self.home, self.metric, tuple(rows), best)

    def line(self, study: Study, number: int, trials: int) -> str:
        """What is said after a trial."""
        row = self._rows(study)[number]
        values = ", ".join(f"{path} {_shown(value)}" for path, value in row["values"].items())
        best = self._best(study)
        came = f"{self.metric} {row['score']:.4f}" if row["state"] == "complete" else row["state"]
        more = f" after {row['epochs']} epochs" if row["state"] == "pruned" else f": {row['why']}" if row["why"] else ""
        so_far = f"; best {best['score']:.4f}, trial {best['number']}" if best is not None else ""
        return f"trial {number} of {trials}: {values}: {came}{more}{so_far}"

    def _rows(self, study: Study) -> list[dict[str, Any]]:
        return [self._row(trial) for trial in _ended(study)]

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

    def _best(self, study: Study) -> dict[str, Any] | None:
        complete = [row for row in self._rows(study) if row["state"] == "complete"]
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


def _ended(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _written(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


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
