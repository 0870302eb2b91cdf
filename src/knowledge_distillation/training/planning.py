"""Checks of a training's plan: loaders, counts, steps that can be counted, a warm-up that fits, models that are two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole, is_finite_number, is_whole
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.teachers import LiveTeacher, Teacher
from knowledge_distillation.training.loaders import loader_length

LOGGED = ("epoch", "step", "train_final_loss", "train_final_loss_epoch")
"""Names under which every training logs."""


def check_arguments(train_loader: Any, val_loaders: Any, max_epochs: Any, seed: Any) -> None:
    """Raise ConfigError for loaders and counts that cannot work, before anything is written."""
    if not _gives_batches(train_loader):
        raise ConfigError(
            f"train_loader must be iterable, such as a torch DataLoader; got {type(train_loader).__name__}. What it "
            "yields are the batches."
        )
    if loader_length(train_loader) == 0:
        raise ConfigError("The train loader is empty: 0 batches. Check the dataset, and drop_last with a small one.")
    if val_loaders is not None and not isinstance(val_loaders, Mapping):
        raise ConfigError(f"val_loaders must be a dict of name -> loader, got {type(val_loaders).__name__}.")
    for name, loader in (val_loaders or {}).items():
        if (
            not isinstance(name, str)
            or not name.strip()
            or any(letter in name for letter in ":{}[]")
            or not name.isprintable()
        ):
            raise ConfigError(f"A validation loader's name must be text without : {{ }} [ ] on one line, got {name!r}.")
        if not _gives_batches(loader):
            raise ConfigError(f"The validation loader {name!r} must be iterable, got {type(loader).__name__}.")
        if loader_length(loader) == 0:
            raise ConfigError(f"The validation loader {name!r} is empty, so it could never be scored.")
    check_whole("max_epochs", max_epochs)
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed!r}.")


def _gives_batches(loader: Any) -> bool:
    """Whether walking over it gives batches, and not letters, names, rows or layers."""
    return isinstance(loader, Iterable) and not isinstance(loader, (str, bytes, Mapping, Tensor, nn.Module))


def check_names(val_loaders: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise ConfigError if a validation loader has the name of something else that is logged.

    Args:
        val_loaders: their names.
        others: names that are taken besides `LOGGED`.
    """
    for name in val_loaders:
        if name in (*LOGGED, *others):
            raise ConfigError(
                f"A validation loader must not be named {name!r}: the score would be logged in the place of the "
                "training's own number. Choose another name."
            )


def check_norm(order: Any) -> float | None:
    """Return an order of gradient norms, a number above 0 or infinity, or None; raise ConfigError otherwise."""
    if order is None or order == math.inf or (is_finite_number(order) and order > 0):
        return None if order is None else float(order)
    raise ConfigError(f"gradient_norm must be a number above 0, or None for no norms; got {order!r}.")


def planned_steps(trainer: Trainer) -> int:
    """The optimiser steps of the whole training.

    Raises:
        ConfigError: if they cannot be known: a stream without length, and no max_steps.
    """
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise ConfigError(
            "The schedule needs the number of training steps, and the train loader has no length: the learning rate "
            "or the weights would end at once. Give the loader a length, pass trainer={'max_steps': ...}, or use a "
            "schedule that steps once an epoch."
        )
    return int(steps)


def check_warm_up(epochs: Any) -> float:
    """Return the epochs of warm-up if they are a finite number >= 0; raise ConfigError otherwise."""
    if not is_finite_number(epochs) or epochs < 0:
        raise ConfigError(f"warm_up_epochs must be a finite number of at least 0, got {epochs!r}.")
    return epochs


def check_apart(student: nn.Module, teacher: Teacher) -> None:
    """Raise ConfigError if training the student would change the teacher. Sharing frozen layers is fine.

    Args:
        student: about to be trained.
        teacher: a live one, or one made of several.
    """
    theirs = {id(parameter) for model in models_of(teacher) for parameter in model.parameters()}
    shared = [name for name, p in student.named_parameters() if p.requires_grad and id(p) in theirs]
    if shared:
        raise ConfigError(
            f"The student shares trainable parameters with the teacher ({', '.join(shared[:3])}), so training would "
            "change the teacher as well. Copy those layers, or freeze them."
        )


def models_of(teacher: Teacher | None) -> list[nn.Module]:
    """The live models that a teacher is made of; none where it has no model here."""
    if isinstance(teacher, LiveTeacher):
        return [teacher.model]
    members = getattr(teacher, "members", ())
    return [model for member in members for model in models_of(member)]


def check_same_plan(checkpoint: Mapping[str, Any], steps: int) -> None:
    """Raise CheckpointError if a one-cycle schedule of another length is to be continued."""
    saved = next(
        (state["total_steps"] for state in checkpoint.get("lr_schedulers", ()) if "total_steps" in state), steps
    )
    if saved != steps:
        raise CheckpointError(
            f"The checkpoint's one_cycle schedule was planned for {saved} steps and this training has {steps}; its end "
            "cannot be moved. Continue with the same max_epochs, or begin a new run from the student's weights."
        )
