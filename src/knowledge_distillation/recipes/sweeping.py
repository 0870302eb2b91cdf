"""Sweep over a recipe: train it with values that Optuna chooses, and write the best recipe out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.recipes.reading import Recipe, as_yaml, with_settings
from knowledge_distillation.recipes.rebuilding import SWEEP
from knowledge_distillation.recipes.running import check_builds
from knowledge_distillation.recipes.search_space import examples, read_space
from knowledge_distillation.recipes.trials import Trials, ended, load_optuna
from knowledge_distillation.training.places import next_free
from knowledge_distillation.untrusted import check_no_links_out, json_of

BEST = "best.yaml"


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
    if not is_whole(trials) or trials < 1:
        raise ConfigError(f"A sweep needs a whole number of trials, at least 1; got {trials!r}.")
    if not is_whole(seed) or not 0 <= seed < 2**31:
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
    load_optuna()
    home = Path(directory or next_free(Path("runs"), "sweep-{:03d}"))
    job = Trials(plain, space, seed, metric or loaders[0], home, own or {})
    asked = {
        "metric": job.metric,
        "seed": seed,
        "over": {path: str(values) for path, values in space.items()},
        "recipe": as_yaml(asdict(plain)),
    }
    _open(home, asked, resume)
    study = job.study()
    while (number := len(ended(study))) < trials:
        job.run(study, number)
        rows, best = job.rows(study), job.best(study)
        _write(home / SWEEP, json.dumps({**asked, "trials": rows}, indent=2))
        if best is not None:
            _write(home / BEST, as_yaml(_sections(with_settings(plain, best["values"]))))
        if progress is not None:
            progress(_line(job.metric, rows[number], trials, best))
    rows, best = job.rows(study), job.best(study)
    if best is None:
        said = next((str(row["why"]) for row in reversed(rows) if row["why"]), "every trial was pruned")
        raise ConfigError(f"None of {len(rows)} trials in {home} came to a score. The last one said: {said}")
    return Sweep(home, job.metric, tuple(rows), best)


def _open(home: Path, asked: Mapping[str, Any], resume: bool) -> None:
    """Begin a sweep in its directory, or see that it goes on with what it was begun with."""
    file = home / SWEEP
    if not file.is_file():
        if resume:
            raise ConfigError(f"There is no sweep in {home} to go on with. Leave --resume out to begin one.")
        home.mkdir(parents=True, exist_ok=True)
        _write(file, json.dumps(asked, indent=2))
        return
    if not resume:
        raise ConfigError(f"{home} already holds a sweep. Choose another directory, or go on with --resume.")
    check_no_links_out(home)
    try:
        before = {name: value for name, value in json_of(file).items() if name in asked}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}), so the sweep cannot go on. Begin another in a directory of its own."
        ) from error
    for name, value in asked.items():
        if before.get(name) != value:
            raise ConfigError(
                f"The sweep in {home} was begun with another {name}: {before.get(name)!r}, now {value!r}. Go on with "
                "what it was begun with, or begin another in a directory of its own."
            )


def _sections(recipe: Recipe) -> dict[str, Any]:
    """The sections that say something; the teacher's also where there is none, as a run writes it."""
    return {name: value for name, value in asdict(recipe).items() if value or name == "teacher"}


def _line(metric: str, row: Mapping[str, Any], trials: int, best: Mapping[str, Any] | None) -> str:
    """What is said after a trial."""
    values = ", ".join(f"{path} {_shown(value)}" for path, value in row["values"].items())
    came = f"{metric} {row['score']:.4f}" if row["state"] == "complete" else row["state"]
    more = f" after {row['epochs']} epochs" if row["state"] == "pruned" else f": {row['why']}" if row["why"] else ""
    so_far = f"; best {best['score']:.4f}, trial {best['number']}" if best is not None else ""
    return f"trial {row['number']} of {trials}: {values}: {came}{more}{so_far}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(file: Path, text: str) -> None:
    """All of the file or none."""
    beside = file.with_name(f".{file.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)
