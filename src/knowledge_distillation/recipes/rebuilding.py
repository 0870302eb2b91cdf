"""The student, teacher, control and data of a finished run, made again from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.domains.catalogue import build_data, build_model, comes_with_weights, has_weights
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import CheckpointError, ConfigError, DistillationError
from knowledge_distillation.recipes.caching import adapter_of
from knowledge_distillation.recipes.quantising import quantised
from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.sources import make_teacher
from knowledge_distillation.recipes.students import FROM_TEACHER, check_student, made_from
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.weights import load_weights
from knowledge_distillation.untrusted import check_no_links_out

SWEEP, TRIALS = "sweep.json", "trials"
"""What marks the directory of a sweep, whose trials share its teacher, and where they lie in it."""
GONE = {
    "ema": "it followed the student while that learnt, and was not kept",
    "self": "it answers from the student's own signals",
    "served": "it runs elsewhere, and a report asks nobody on a network",
}
"""Teachers that no directory gives back, and why."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a run's directory gives back, on the CPU in eval mode.

    Attributes:
        student: as it was trained.
        data: the data it was validated on.
        recipe: of the run.
        teacher: as it taught; None where there is none, or it cannot be had.
        control: the same student trained without the teacher, where `compare` left one.
        notes: what could not be had, and why.
    """

    student: nn.Module
    data: Data
    recipe: Recipe
    teacher: Teacher | nn.Module | None
    control: nn.Module | None
    notes: tuple[str, ...]


def rebuilt(run_directory: str | Path, own: Mapping[str, Any] | None = None) -> tuple[nn.Module, Data, Recipe]:
    """The trained student of a run that `kd train RECIPE` made, with the data it was validated on.

    Args:
        run_directory: holds recipe.yaml, whose names say what to build, and student.safetensors.
        own: the user's models and data sets by name, as of `run_recipe`.

    Returns:
        The student on the CPU in eval mode, the data, and the recipe. torch's random state is left as it was.

    Raises:
        ConfigError: if there is no recipe, it names no student and data because `distill` was called from Python, or a
            link in the directory leads out of it.
        CheckpointError: if the weights are missing or do not fit.
    """
    home = Path(run_directory)
    file = home / "recipe.yaml"
    if not file.is_file():
        raise ConfigError(f"{home} holds no recipe.yaml, so it is no run. Name the directory that `kd train` wrote.")
    check_no_links_out(home)
    recipe = _recipe(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.get("seed", 0))
        settings = {key: value for key, value in recipe.data.items() if key != "name"}
        data: Any = build_data(recipe.data["name"], settings, own or {})
        if not isinstance(data, Data):
            raise ConfigError(
                f"The data set {recipe.data['name']!r} must return a domains.data.Data, got {type(data).__name__}."
            )
        untrained = _student(recipe, data, own or {})
        student = _filled(untrained, recipe.student, home / "student.safetensors", "student")
    return student, data, recipe


def rebuilt_run(run_directory: str | Path, own: Mapping[str, Any] | None = None) -> Rebuilt:
    """All models of a run; arguments and errors as of `rebuilt`.

    Nothing is trained: a teacher whose weights are not there is left out, and a note says so.
    """
    home, extra = Path(run_directory), own or {}
    student, data, recipe = rebuilt(home, extra)
    notes: list[str] = []
    teacher: Teacher | nn.Module | None = None
    control: nn.Module | None = None
    with torch.random.fork_rng(devices=[]):
        try:
            teacher = _teacher(recipe, student, data, _teachers_home(home, recipe), extra)
        except DistillationError as error:
            notes.append(f"The teacher was not measured: {error}")
        if (home / "control.safetensors").is_file():
            untrained = _student(recipe, data, extra)
            control = _filled(untrained, recipe.student, home / "control.safetensors", "control")
    return Rebuilt(student, data, recipe, teacher, control, tuple(notes))


def _teacher(
    recipe: Recipe, student: nn.Module, data: Data, home: Path, extra: Mapping[str, Any]
) -> Teacher | nn.Module | None:
    if recipe.teacher is None:
        return None
    name = recipe.teacher["name"]
    if name in GONE and name not in extra:
        raise ConfigError(f"{GONE[name]}.")

    def one(spec: Mapping[str, Any], place: str) -> nn.Module:
        trained, named = home / place / "student.safetensors", spec.get("weights")
        if "train" not in spec and named is None:
            model = build_model(spec["name"], data.facts, _settings(spec), extra).eval()
            if comes_with_weights(spec["name"], extra) or not has_weights(model):
                return model
            raise ConfigError(f"{spec['name']} had no weights, and an untrained model is not kept.")
        weights = trained if "train" in spec else Path(str(named))
        return _filled(build_model(spec["name"], data.facts, _settings(spec), extra), spec, weights, "teacher")

    return make_teacher(recipe, recipe.teacher, student, one, extra, adapter=adapter_of(recipe, data))


def _teachers_home(home: Path, recipe: Recipe) -> Path:
    """Where a teacher lies that the recipe trained: in the run, with its cache, or in the sweep of the run."""
    if recipe.cache is not None:
        return Path(recipe.cache["directory"])
    sweep = home.resolve().parent.parent
    shares = home.resolve().parent.name == TRIALS and (sweep / SWEEP).is_file()
    return sweep if shares and not any(home.glob("teacher*")) else home


def _student(recipe: Recipe, data: Data, extra: Mapping[str, Any]) -> nn.Module:
    """The untrained student; one that was made from its teacher is made from an untrained one, for its shapes."""
    if recipe.student["name"] != FROM_TEACHER:
        return quantised(build_model(recipe.student["name"], data.facts, _settings(recipe.student), extra), recipe)
    check_student(recipe)
    teacher = recipe.teacher or {}
    whole = build_model(teacher["name"], data.facts, _settings(teacher), extra)
    return quantised(made_from(recipe.student, whole, data), recipe)


def _filled(model: nn.Module, spec: Mapping[str, Any], weights: Path, role: str) -> nn.Module:
    """The model with its weights, in eval mode.

    Raises:
        CheckpointError: if they are missing or do not fit.
    """
    try:
        load_weights(model, weights)
    except CheckpointError as error:
        raise CheckpointError(
            f"{weights} must hold the weights of the {role} {spec['name']!r} and does not: {error}. "
            + (
                "A student that keeps parts of its loss, as 'simkd' makes, is evaluated and exported from Python, by "
                "the run that distill returned."
                if role == "student"
                else "Put the file back, or train again."
            )
        ) from error
    return model.eval()


def _recipe(file: Path) -> Recipe:
    try:
        return read_recipe(str(file))
    except ConfigError as error:
        if "lacks the section 'data'" not in str(error):
            raise
        raise ConfigError(
            f"{file} names no data set: this run was made by kd.distill in Python, whose student and loaders cannot be "
            'built from a file. Do it in the program that trained it: run.export("onnx"), run.report().'
        ) from error


def _settings(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in ("name", "weights", "train")}
