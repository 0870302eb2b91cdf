"""Before the first step: find the layers an objective asks for by role, and build what depends on their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
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
from knowledge_distillation.objective.parts import PARTS
from knowledge_distillation.teachers import CachedTeacher, LiveTeacher, ReadsStudent, Teacher
from knowledge_distillation.teachers.cache import TaughtBatch
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
    trainer.fit_loop.setup_data()  # draws once, whoever calls it first: taken back, the arms of a comparison would part
    state = random_state()
    loader, batch = _first_batch(trainer)
    make_ready(objective, student, adapter, teacher, batch, loader_sizes(loader))
    restore_random_state(state)


def make_ready(
    objective: Objective,
    student: nn.Module,
    adapter: Adapter,
    teacher: Teacher | None,
    batch: Any,
    sizes: Mapping[str, int],
) -> None:
    """The same from a batch that is already there; draws random numbers and leaves the teacher prepared.

    Args:
        objective, student, adapter, teacher: as for `prepare_objective`.
        batch: one training batch, on any device.
        sizes: what `loader_sizes` says of its loader.

    Raises:
        ConfigError: if roles are asked of a teacher without modules.
    """
    device = next((parameter.device for parameter in student.parameters()), torch.device("cpu"))
    batch = to_device(batch, device)
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    models: dict[str, nn.Module | None] = {"student": student, "teacher": None}
    if isinstance(teacher, LiveTeacher):
        models["teacher"] = teacher.model
    for side, model in models.items():
        roles = objective.roles(side)
        if roles and side == "teacher" and isinstance(teacher, CachedTeacher):
            objective.find_layers(side, teacher.roles(roles))
        elif roles and model is None:
            raise ConfigError(f"{sorted(roles)} cannot be looked up in this teacher. Name its signals instead.")
        if roles and model is not None:
            example = _inputs(model, content)
            objective.find_layers(side, {role: find_role(role, model, example, side) for role in roles})
    asked = objective.wanted("teacher")
    mirrored = teacher.reads(asked) if isinstance(teacher, ReadsStudent) else ()
    reader = Reader(
        student,
        adapter,
        wanted=tuple(dict.fromkeys((*objective.wanted("student"), *mirrored))),
        leaves_head=objective.leaves_head("student") and not mirrored,
    )
    reader.attach()
    try:
        with undisturbed(student):
            said = reader.read(content)
    finally:
        reader.detach()
    taught = None
    if teacher is not None and objective.needs_teacher:
        prepare_teacher(teacher, objective, device)
        taught = teacher.from_student(said) if isinstance(teacher, ReadsStudent) else teacher.signals(batch, asked)
    objective.prepare(said, taught, {**sizes, **said.extras}, partial(_part, models["teacher"], content))
    objective.to(device)


def prepare_teacher(teacher: Teacher, objective: Objective, device: torch.device) -> None:
    """Get a teacher ready to answer: on the device, its head left to the objective where that applies it."""
    teacher.prepare(device)
    if isinstance(teacher, LiveTeacher):
        teacher.leave_head(objective.leaves_head("teacher"))


def loader_sizes(loader: Any) -> dict[str, int]:
    """What losses may ask of the data: "batch_size" and "samples", where the loader knows them."""
    sizes = {"batch_size": getattr(loader, "batch_size", None), "samples": _count(getattr(loader, "dataset", None))}
    return {name: size for name, size in sizes.items() if size}


def _part(model: nn.Module | None, batch: Any, name: str, signals: tuple[str, ...]) -> Any:
    if model is None:
        raise ConfigError(
            f"{name}='auto' is read from the teacher's own modules, and this teacher has none. Set {name} to a value."
        )
    return PARTS[name](model, _inputs(model, batch), signals)


def _inputs(model: nn.Module, batch: Any) -> Any:
    positional, named, _ = split_batch(batch, model)
    return to_device(named or positional, next(model.parameters()).device)


def _first_batch(trainer: Trainer) -> tuple[Any, Any]:
    loader: Any = trainer.train_dataloader
    if isinstance(loader, Iterator):
        raise ConfigError(
            "The train loader can be walked only once, and this objective needs a first batch to read sizes from. "
            "Pass a DataLoader, or name every layer, size and projector."
        )
    try:
        return loader, next(iter(loader))
    except StopIteration:
        raise ConfigError(
            "The train loader gave no batch, and this objective needs a first one to read sizes from. Check the "
            "dataset and drop_last."
        ) from None


def _count(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None
