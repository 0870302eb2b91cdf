"""Run a recipe: make its models and data by name, train the teacher where it asks for that, distil."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from knowledge_distillation.domains.catalogue import build_data, build_model
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.caching import cache_directory, cached, write_recipe_cache
from knowledge_distillation.recipes.methods import Job, check_method, run_method
from knowledge_distillation.recipes.reading import SEVERAL, TRAINER_KEYS, Recipe, as_yaml
from knowledge_distillation.recipes.sources import make_teacher
from knowledge_distillation.recipes.students import FROM_TEACHER, check_student, chosen_student, made_from
from knowledge_distillation.run import Run, distill
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.teachers.cache.writing import Progress
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.run_directory import open_directory
from knowledge_distillation.training.schedules import check_schedule
from knowledge_distillation.training.speed import check_speed
from knowledge_distillation.ways.stages import finished, how_to_continue

logger = logging.getLogger(__name__)


def run_recipe(
    recipe: Recipe,
    *,
    directory: str | Path | None = None,
    resume: str | None = None,
    own: Mapping[str, Any] | None = None,
    teachers: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a student as the recipe says.

    Args:
        recipe: from `read_recipe`.
        directory: where to write; wins over the recipe's own.
        resume: "auto" or a checkpoint's path.
        own: the user's models and data sets by name; see `own_names`.
        teachers: where a teacher that the recipe trains is kept and found again, so that several runs share it;
            default: the run's own directory.
        callbacks: Lightning callbacks for the student's training.

    Raises:
        ConfigError: if a name or a setting is wrong.
        CheckpointError: if weights are missing or do not fit.
    """
    extra = own or {}
    training = dict(recipe.training)
    named = training.pop("directory", None)
    home = Path(directory or named or next_free(Path("runs"), "run-{:03d}"))
    data, student = _begin(recipe, extra)
    if not resume:
        open_directory(home, None)
    teacher = None
    if recipe.teacher is not None:
        place, again = (home, resume) if teachers is None else (Path(teachers), "auto")
        teacher = _any_teacher(recipe, student, data, extra, place, again)
    make = partial(_model, data=data, extra=extra, teacher=teacher)
    if student is None:
        recipe = replace(recipe, student=chosen_student(recipe.student, teacher, data))
        student = make(recipe.student)
    if recipe.cache is not None and teacher is not None:
        teacher = cached(recipe, teacher, data.train)
    arguments = {"objective": recipe.objective, "directory": home, "resume": resume, **_arguments(training)}
    if callbacks:
        arguments["trainer"] = {**arguments["trainer"], "callbacks": list(callbacks)}
    run = run_method(
        Job(
            recipe=recipe,
            teacher=teacher,
            student=student,
            data=data,
            make=make,
            arguments=arguments,
        )
    )
    sections = ("description", "method", "teacher", "cache", "student", "data", "objective", "training")
    resolved = {
        name: getattr(recipe, name) for name in sections if name not in ("method", "cache") or getattr(recipe, name)
    }
    if run.module.trainer.is_global_zero:
        (home / "recipe.yaml").write_text(as_yaml(resolved), encoding="utf-8")
    return run


def check_builds(recipe: Recipe, own: Mapping[str, Any] | None = None) -> Data:
    """Make what can be made without training, and throw it away but for the data, which is returned.

    Raises:
        ConfigError: if a name or a setting is wrong.
    """
    with torch.random.fork_rng(devices=[]):
        return _begin(recipe, own or {})[0]


def cache_recipe(
    recipe: Recipe, *, own: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Write the teacher cache of a recipe, and train the teacher before where the recipe says so.

    Args:
        recipe: with a teacher and a cache section.
        own: as of `run_recipe`.
        progress: as of `write_cache`.

    Returns:
        The cache's manifest.
    """
    home = cache_directory(recipe)
    data, student = _begin(recipe, own or {})
    teacher = _any_teacher(recipe, student, data, own or {}, home, None)
    return write_recipe_cache(recipe, teacher, data.train, progress)


def own_names(file: str | Path) -> dict[str, Any]:
    """Models and data sets from a Python file that the user named: every public function and class in it.

    The file is run, so it must be the user's own. Nothing is ever run that only a recipe names.

    Raises:
        ConfigError: if the file is missing or fails.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"--module {path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(f"kd_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--module {path} must be a Python file ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--module {path} failed: {type(error).__name__}: {error}") from error
    return {name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")}


def _begin(recipe: Recipe, extra: Mapping[str, Any]) -> tuple[Data, nn.Module | None]:
    """Check what can be checked before anything is trained; then the data and the untrained student.

    The student is None where it will be made from the teacher.
    """
    check_method(recipe)
    check_student(recipe)
    as_objective(recipe.objective)
    for plan in (recipe.training, *_plans(recipe.teacher or {})):
        check_optimizer(plan.get("optimizer", "adamw"))
        check_schedule(plan.get("schedule", ""))
        check_speed(plan.get("speed", "off"))
    data = _data(recipe.data, extra)
    torch.manual_seed(recipe.training.get("seed", 0))
    return data, None if recipe.student["name"] == FROM_TEACHER else _model(recipe.student, data, extra)


def _any_teacher(
    recipe: Recipe, student: nn.Module | None, data: Data, extra: Mapping[str, Any], home: Path, resume: str | None
) -> Teacher | nn.Module:
    if recipe.teacher is None:  # check_recipe asks for one where there is a cache
        raise AssertionError("a recipe without a teacher has none to make")
    if recipe.cache is not None:
        home, resume = cache_directory(recipe), "auto"  # one teacher for all runs that learn from this cache
    one = partial(_teacher, recipe=recipe, data=data, extra=extra, home=home, resume=resume)
    return make_teacher(recipe, recipe.teacher, student, one, extra)


def _plans(teacher: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The train sections of a teacher and of its members."""
    yield teacher.get("train") or {}
    if teacher.get("name") in SEVERAL:
        for member in teacher["members"]:
            yield from _plans(member)


def _teacher(
    spec: Mapping[str, Any],
    place: str,
    *,
    recipe: Recipe,
    data: Data,
    extra: Mapping[str, Any],
    home: Path,
    resume: str | None,
) -> nn.Module:
    spec = dict(spec)
    plan = spec.pop("train", None)
    folder = home / place
    if plan is not None and resume and finished(folder) is not None:
        spec["weights"], plan = str(folder / "student.safetensors"), None
    teacher = _model(spec, data, extra)
    if plan is not None:
        plan = {"seed": recipe.training.get("seed", 0), **plan}
        teaching = _data({**recipe.data, **(plan.pop("data", None) or {})}, extra)
        logger.info("training the teacher %s first", spec["name"])
        run = distill(
            None,
            teacher,
            teaching.train,
            teaching.validation,
            objective="labels",
            directory=folder,
            resume=how_to_continue(folder) if resume else None,
            **_arguments(plan),
        )
        logger.info("teacher: %s", ", ".join(f"{name} {value:.4f}" for name, value in run.scores.items()))
    elif "weights" not in spec:
        logger.warning("The teacher %s has neither weights nor a train section: it is untrained.", spec["name"])
    return teacher


def _model(
    spec: Mapping[str, Any], data: Data, extra: Mapping[str, Any], teacher: Teacher | nn.Module | None = None
) -> nn.Module:
    settings = {key: value for key, value in spec.items() if key not in ("name", "weights")}
    if spec["name"] == FROM_TEACHER:
        model = made_from(spec, teacher, data)
    else:
        model = build_model(spec["name"], data.facts, settings, extra)
    weights = spec.get("weights")
    if weights is not None:
        try:
            load_model(model, weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"The weights {weights} cannot be loaded into {spec['name']}: {error}") from error
    return model


def _data(spec: Mapping[str, Any], extra: Mapping[str, Any]) -> Data:
    data = build_data(spec["name"], {key: value for key, value in spec.items() if key != "name"}, extra)
    if not isinstance(data, Data):
        raise ConfigError(f"The data set {spec['name']!r} must return a domains.data.Data, got {type(data).__name__}.")
    return data


def _arguments(training: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(training)
    trainer = dict(arguments.pop("trainer", None) or {})
    trainer.update({key: arguments.pop(key) for key in TRAINER_KEYS if key in arguments})
    return {**arguments, "trainer": trainer}
