"""The method of a recipe: distil once, or another way to be taught."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.recipes.settings import check_settings
from knowledge_distillation.run import Run, distill
from knowledge_distillation.teachers import FollowsStudent, ReadsStudent, Teacher
from knowledge_distillation.ways import born_again, distill_data_free, mutual, teach_in_turn
from knowledge_distillation.ways.stages import how_to_continue


@dataclass(frozen=True, slots=True)
class Job:
    """What a recipe has made by the time its method runs.

    Attributes:
        recipe: as it was read.
        teacher: ready to teach, or None.
        student: untrained.
        data: loaders and facts.
        make: a model from its mapping, such as {"name": "image_mlp"}.
        arguments: of `distill`, from the training section; with objective, directory and resume.
    """

    recipe: Recipe
    teacher: Teacher | nn.Module | None
    student: nn.Module
    data: Data
    make: Callable[[Mapping[str, Any]], nn.Module]
    arguments: Mapping[str, Any]


def check_method(recipe: Recipe) -> None:
    """Look at a recipe's method before anything is trained.

    Raises:
        ConfigError: if the method or a setting is unknown, or method and teacher do not fit each other.
    """
    name, settings = _method(recipe)
    if name not in METHODS:
        raise ConfigError(f"There is no method named {name!r}. {nearest(name, METHODS)}")
    taken = distill_data_free if name == "data_free" else METHODS[name]
    given = "job teacher student val_loaders channels size objective pipeline adapter optimizer generator"
    check_settings("method", name, taken, settings, given)
    if name != "distill" and (recipe.teacher is None) != (name == "mutual"):
        raise ConfigError(
            f"The method {name!r} needs a teacher section."
            if recipe.teacher is None
            else "The method 'mutual' has no teacher: the students teach each other. Leave the teacher section out."
        )


def run_method(job: Job) -> Run:
    """Train as the recipe's method says; the run is that of the recipe's student.

    Raises:
        ConfigError: if a setting is wrong.
    """
    name, settings = _method(job.recipe)
    if name != "distill" and isinstance(job.teacher, (FollowsStudent, ReadsStudent)):
        raise ConfigError(
            f"The method {name!r} needs a teacher that is there before; {job.recipe.teacher} is made of the student."
        )
    home = Path(job.arguments["directory"])
    if job.arguments["resume"] == "auto" and name not in CHAINS and any(home.glob("teacher*/checkpoints")):
        # perhaps broken off while the teacher was trained, or before the student's first checkpoint
        job = replace(job, arguments={**job.arguments, "resume": how_to_continue(home)})
    return METHODS[name](job, **settings)


def _method(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    settings = dict(recipe.method or {"name": "distill"})
    return settings.pop("name"), settings


def _once(job: Job) -> Run:
    def make_student() -> nn.Module:
        return job.make(job.recipe.student)

    return distill(job.teacher, make_student, job.data.train, job.data.validation, **job.arguments)


def _assistants(job: Job, students: Any = None) -> Run:
    chain = [*_models(job, "assistants", "students", students), job.student]
    return teach_in_turn(_there(job), chain, job.data.train, job.data.validation, **job.arguments)[-1]


def _born_again(job: Job, generations: int = 2) -> Run:
    def make_student() -> nn.Module:
        return job.make(job.recipe.student)

    data = job.data
    return born_again(_there(job), make_student, generations, data.train, data.validation, **job.arguments)[-1]


def _mutual(job: Job, peers: Any = None) -> Run:
    models = _models(job, "mutual", "peers", peers)
    students = {"student": job.student} | {f"peer_{place}": model for place, model in enumerate(models, 1)}
    return mutual(students, job.data.train, job.data.validation, **job.arguments)["student"]


def _data_free(job: Job, **settings: Any) -> Run:
    facts: dict[str, Any] = {key: job.data.facts[key] for key in ("channels", "size") if key in job.data.facts}
    if len(facts) < 2 or not isinstance(job.teacher, nn.Module):
        raise ConfigError(
            f"Learning without data needs one model as teacher and images of known channels and size; the teacher is "
            f"{type(job.teacher).__name__}, the data's facts are {dict(job.data.facts)}."
        )
    return distill_data_free(job.teacher, job.student, job.data.validation, **facts, **settings, **job.arguments)


def _there(job: Job) -> Teacher | nn.Module:
    if job.teacher is None:  # check_method has asked for one
        raise AssertionError("a chain was begun without a teacher")
    return job.teacher


def _models(job: Job, method: str, setting: str, specs: Any) -> list[nn.Module]:
    named = [{"name": spec} if isinstance(spec, str) else spec for spec in specs] if isinstance(specs, list) else []
    if not named or not all(isinstance(spec, dict) and isinstance(spec.get("name"), str) for spec in named):
        raise ConfigError(
            f"The method {method!r} needs {setting}: a list of models, such as [{{name: image_mlp, hidden: 64}}]; got "
            f"{specs!r}."
        )
    models = []
    for place, spec in enumerate(named, 1):
        torch.manual_seed(job.recipe.training.get("seed", 0) + place)  # the same start, whatever was trained before
        models.append(job.make(spec))
    return models


METHODS: Mapping[str, Callable[..., Run]] = {
    "distill": _once,
    "assistants": _assistants,
    "born_again": _born_again,
    "mutual": _mutual,
    "data_free": _data_free,
}
CHAINS = ("assistants", "born_again")
"""Methods that find out themselves which of their trainings goes on."""
