"""What a recipe names, made: its data, its student, and its teacher, which is trained first where it asks for that."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.domains.catalogue import (
    build_callback,
    build_data,
    build_model,
    comes_with_weights,
    has_weights,
)
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.caching import adapter_of, cache_directory, cached
from knowledge_distillation.recipes.methods import Job, check_method
from knowledge_distillation.recipes.quantising import KEY as QUANTISED
from knowledge_distillation.recipes.quantising import check_quantised, quantised
from knowledge_distillation.recipes.reading import SEVERAL, TRAINER_KEYS, Recipe
from knowledge_distillation.recipes.sources import make_teacher
from knowledge_distillation.recipes.students import FROM_TEACHER, check_student, chosen_student, made_from
from knowledge_distillation.run import distill
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.schedules import check_schedule
from knowledge_distillation.training.speed import check_speed
from knowledge_distillation.training.weights import load_weights
from knowledge_distillation.ways.stages import finished, how_to_continue

logger = logging.getLogger(__name__)


def begun(recipe: Recipe, extra: Mapping[str, Any]) -> tuple[Data, nn.Module | None]:
    """Check what can be checked before anything is trained; then the data and the untrained student.

    The student is None where it will be made from the teacher.
    """
    check_method(recipe)
    check_student(recipe)
    check_quantised(recipe)
    as_objective(recipe.objective)
    for plan in (recipe.training, *_plans(recipe.teacher or {})):
        check_optimizer(plan.get("optimizer", "adamw"))
        check_schedule(plan.get("schedule", ""))
        check_speed(plan.get("speed", "off"))
        as_objective(plan.get("objective", "labels"))
        for callback in plan.get("callbacks") or ():
            build_callback(callback)
    data = _data(recipe.data, extra)
    torch.manual_seed(recipe.training.get("seed", 0))
    return data, None if recipe.student["name"] == FROM_TEACHER else _model(recipe.student, data, extra)


def any_teacher(
    recipe: Recipe, student: nn.Module | None, data: Data, extra: Mapping[str, Any], home: Path, resume: str | None
) -> Teacher | nn.Module:
    """The recipe's teacher, trained first where the recipe says so.

    Args:
        recipe: with a teacher section.
        student: untrained; None where it will be made from the teacher.
        data: as of `begun`.
        extra: the user's own models and data sets by name.
        home: where a teacher that is trained lies; with a cache, it lies with that.
        resume: None to train it anew; else a finished one is taken, and one that was broken off goes on.
    """
    if recipe.teacher is None:  # check_recipe asks for one where there is a cache
        raise AssertionError("a recipe without a teacher has none to make")
    if recipe.cache is not None:
        home, resume = cache_directory(recipe), "auto"  # one teacher for all runs that learn from this cache
    one = partial(_teacher, recipe=recipe, data=data, extra=extra, home=home, resume=resume)
    return make_teacher(recipe, recipe.teacher, student, one, extra, adapter=adapter_of(recipe, data))


def prepared(
    recipe: Recipe,
    data: Data,
    student: nn.Module | None,
    extra: Mapping[str, Any],
    home: Path,
    resume: str | None,
) -> Job:
    """All that a recipe's method needs, in its hands; arguments as of `any_teacher`.

    Returns:
        The job, whose arguments lack the directory, and whose recipe says what was chosen where something was to be
        chosen.
    """
    live = None if recipe.teacher is None else any_teacher(recipe, student, data, extra, home, resume)

    def make(spec: Mapping[str, Any]) -> nn.Module:
        return quantised(_model(spec, data, extra, live), recipe)

    if student is None:
        recipe = replace(recipe, student=chosen_student(recipe.student, live, data))
        student = make(recipe.student)
    else:
        student = quantised(student, recipe)
    teacher = live
    if recipe.cache is not None and live is not None:
        teacher = cached(recipe, live, data)
    training = {key: value for key, value in recipe.training.items() if key not in ("directory", QUANTISED)}
    arguments = {"objective": recipe.objective, **_arguments(training, data)}
    return Job(recipe=recipe, teacher=teacher, student=student, data=data, make=make, arguments=arguments)


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
    if plan is not None and not has_weights(teacher):
        raise ConfigError(
            f"The teacher {spec['name']!r} has a train section and no parameters that gradients could change: it was "
            "fitted when it was made, and would stay as it is. Leave the train section out; what it is fitted with "
            "stands in its own settings."
        )
    if plan is not None:
        plan = {"seed": recipe.training.get("seed", 0), **plan}
        teaching = _data({**recipe.data, **(plan.pop("data", None) or {})}, extra)
        logger.info("training the teacher %s first", spec["name"])
        run = distill(
            None,
            teacher,
            teaching.train,
            teaching.validation,
            objective=plan.pop("objective", "labels"),
            directory=folder,
            resume=how_to_continue(folder) if resume else None,
            **_arguments(plan, teaching),
        )
        logger.info("teacher: %s", ", ".join(f"{name} {value:.4f}" for name, value in run.scores.items()))
    elif has_weights(teacher) and not (
        spec.get("weights") or spec.get("pretrained") or comes_with_weights(spec["name"], extra)
    ):
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
            load_weights(model, weights)
        except CheckpointError as error:
            raise CheckpointError(f"The weights {weights} cannot be loaded into {spec['name']}: {error}") from error
    return model


def _data(spec: Mapping[str, Any], extra: Mapping[str, Any]) -> Data:
    data = build_data(spec["name"], {key: value for key, value in spec.items() if key != "name"}, extra)
    if not isinstance(data, Data):
        raise ConfigError(f"The data set {spec['name']!r} must return a domains.data.Data, got {type(data).__name__}.")
    return data


def _arguments(training: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The arguments of `distill` in a training section, with the data's adapter and pipeline where it has its own."""
    own = {"adapter": data.adapter} if data.adapter != "auto" else {}
    arguments = {**own, **({"pipeline": data.pipeline} if data.pipeline is not None else {}), **training}
    trainer = dict(arguments.pop("trainer", None) or {})
    trainer.update({key: arguments.pop(key) for key in TRAINER_KEYS if key in arguments})
    named = arguments.pop("callbacks", None)
    if named:
        trainer["callbacks"] = [build_callback(callback) for callback in named]
    return {**arguments, "trainer": trainer}
