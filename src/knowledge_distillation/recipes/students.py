"""The student "from_teacher" of a recipe: the teacher with fewer layers, narrower layers or layers of low rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.capture.adapters import adapter_pair, split_batch
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.evaluation.cost import resized
from knowledge_distillation.recipes.reading import SEVERAL, Recipe
from knowledge_distillation.recipes.settings import check_settings
from knowledge_distillation.students.scoring import check_distance

FROM_TEACHER = "from_teacher"
STEPS: Mapping[str, Callable[..., Any]] = {
    "keep_layers": students.keep_layers,
    "narrow": students.narrow,
    "factorise": students.factorise,
}
"""What is done to the teacher, in this order."""
CHOOSING: Mapping[str, Callable[..., Any]] = {
    "search_layers": students.search_layers,
    "to_target": students.to_target,
}
"""What chooses such a step; the run's recipe.yaml holds what was chosen."""
NOT_FROM_A_RECIPE = "teacher example val_loader latency_ms energy adapter"
"""Given by the run, or, as a latency and a share of the energy are, not to be had again when the run is rebuilt."""


def check_student(recipe: Recipe) -> None:
    """Look at a student section before anything is trained.

    Raises:
        ConfigError: if the student is to be made from the teacher, and there is not one teacher, or a step is unknown.
    """
    if recipe.student["name"] != FROM_TEACHER:
        return
    if recipe.teacher is None or recipe.teacher["name"] in (*SEVERAL, "ema", "self", "served", "black_box"):
        given = "none" if recipe.teacher is None else repr(recipe.teacher["name"])
        raise ConfigError(
            f"A student {FROM_TEACHER!r} is made of one teacher's layers; the recipe's teacher is {given}. Name a "
            "teacher model, or a student of its own."
        )
    known = {**STEPS, **CHOOSING}
    steps = {name: value for name, value in recipe.student.items() if name not in ("name", "weights")}
    for name, settings in steps.items():
        if name not in known:
            raise ConfigError(f"The student {FROM_TEACHER!r} has no setting {name!r}. {nearest(str(name), known)}")
        if not isinstance(settings, Mapping):
            raise ConfigError(f"student.{name} must be a mapping of settings, got {settings!r}.")
        check_settings("student", f"{FROM_TEACHER}.{name}", known[name], settings, NOT_FROM_A_RECIPE)
        if name == "search_layers":
            check_distance(str(settings.get("by", "kl")))  # in a recipe there are no pipelines
    if not steps:
        raise ConfigError(f"The student {FROM_TEACHER!r} needs one of {', '.join(known)}: else it is the teacher.")
    both = [name for name in steps if name == "keep_layers"] if "search_layers" in steps else []
    alone = [name for name in steps if name != "to_target"] if "to_target" in steps else []
    if both or alone:
        raise ConfigError(f"student.{'search_layers' if both else 'to_target'} does not go with {(both or alone)[0]}.")


def chosen_student(spec: Mapping[str, Any], teacher: Any, data: Data) -> dict[str, Any]:
    """A student section in which what was to be chosen stands chosen.

    Layers are searched on training batches: the validation data often are the test.

    Args:
        spec: any student section.
        teacher: trained.
        data: whose training batches are looked at; torch's random state is left as it was.
    """
    chosen = dict(spec)
    if spec["name"] != FROM_TEACHER:
        return chosen
    model = _one(teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if "search_layers" in spec:
            search = dict(chosen.pop("search_layers"))
            called = adapter_pair(data.adapter)[0]
            kept = list(students.search_layers(model, val_loader=data.train, adapter=called, **search).kept)
            stack = {"stack": search["stack"]} if "stack" in search else {}
            chosen["keep_layers"] = {"count": len(kept), "rule": kept, **stack}
        if "to_target" in spec:
            largest = students.to_target(model, _example(data), **chosen.pop("to_target"))[0]
            chosen[largest.way] = dict(largest.settings)
    return chosen


def made_from(spec: Mapping[str, Any], teacher: Any, data: Data) -> nn.Module:
    """The student of a section whose steps are chosen; untrained, in train mode, every parameter trainable.

    Its shapes follow from the teacher's shapes and the steps alone, so that a run can be rebuilt without its teacher's
    weights.
    """
    student: nn.Module = _one(teacher)
    for name, step in STEPS.items():
        if name in spec:
            settings = dict(spec[name])
            if name == "narrow":
                with torch.random.fork_rng(devices=[]):
                    settings["example"] = _example(data)
            student = step(student, **settings)
    return student.train().requires_grad_(True)


def _one(teacher: Any) -> nn.Module:
    if not isinstance(teacher, nn.Module):
        raise ConfigError(
            f"A student {FROM_TEACHER!r} is made of one teacher's layers; the recipe's teacher is a "
            f"{type(teacher).__name__}, which is no module."
        )
    return teacher


def _example(data: Data) -> Any:
    positional, named, _ = split_batch(resized(next(iter(data.train)), 2))
    return dict(named) or tuple(positional)
