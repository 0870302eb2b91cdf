"""Before the first step: find the layers an objective asks for by role, and build what depends on their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

from knowledge_distillation.capture.adapters import Adapter, split_batch
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import Objective
from knowledge_distillation.objective.layers import find_role
from knowledge_distillation.teachers import LiveTeacher, ReadsStudent, Teacher
from knowledge_distillation.training.pipelines import to_device
from knowledge_distillation.training.random_state import random_state, restore_random_state


def prepare_objective(
    objective: Objective, student: nn.Module, adapter: Adapter, teacher: Teacher | None, trainer: Trainer
) -> None:
    """Make an objective ready for training, with one batch of the training data.

    Models are left as they were, random generators too. Roles such as "@stages" of the teacher need a `LiveTeacher`.

    Args:
        objective: gets its layers, projectors and sized losses.
        student: run once, in eval mode, where it is.
        adapter: the student's.
        teacher: run once as well, if the objective asks it.
        trainer: about to fit; gives the batch.

    Raises:
        ConfigError: if the train loader can be walked only once, or roles are asked of a teacher without modules.
    """
    state = random_state()
    loader, batch = _first_batch(trainer)
    device = next((parameter.device for parameter in student.parameters()), torch.device("cpu"))
    batch = to_device(batch, device)
    models: dict[str, nn.Module | None] = {"student": student, "teacher": None}
    if isinstance(teacher, LiveTeacher):
        models["teacher"] = teacher.model
    for side, model in models.items():
        roles = objective.roles(side)
        if roles and model is None:
            raise ConfigError(f"{sorted(roles)} cannot be looked up in this teacher. Name its signals instead.")
        if roles and model is not None:
            positional, named, _ = split_batch(batch)
            example = to_device(named or positional, next(model.parameters()).device)
            objective.find_layers(side, {role: find_role(role, model, example, side) for role in roles})
    asked = objective.wanted("teacher")
    mirrored = teacher.reads(asked) if isinstance(teacher, ReadsStudent) else ()
    reader = Reader(student, adapter, wanted=tuple(dict.fromkeys((*objective.wanted("student"), *mirrored))))
    reader.attach()
    try:
        with undisturbed(student):
            said = reader.read(batch)
    finally:
        reader.detach()
    taught = None
    if teacher is not None and objective.needs_teacher:
        teacher.prepare(device)
        taught = teacher.from_student(said) if isinstance(teacher, ReadsStudent) else teacher.signals(batch, asked)
    sizes = {"batch_size": getattr(loader, "batch_size", None), "samples": _count(getattr(loader, "dataset", None))}
    objective.prepare(said, taught, {name: size for name, size in sizes.items() if size})
    objective.to(device)
    restore_random_state(state)


def _first_batch(trainer: Trainer) -> tuple[Any, Any]:
    trainer.fit_loop.setup_data()
    loader: Any = trainer.train_dataloader
    if isinstance(loader, Iterator):
        raise ConfigError(
            "The train loader can be walked only once, and this objective needs a first batch to read sizes from. "
            "Pass a DataLoader, or name every layer, size and projector."
        )
    return loader, next(iter(loader))


def _count(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None
