"""A warm-up that does not fit the training."""

from __future__ import annotations

import math
from collections.abc import Iterator

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.training.loaders import loader_length
from knowledge_distillation.training.schedules import name_of

IGNORING = ("", "cosine_anneal")
LARGEST_SHARE = 0.5


def warm_up(patient: Patient) -> Iterator[Finding]:
    """The training has too few steps for the schedule's warm-up, or the schedule knows none."""
    plan = patient.plan
    epochs = plan.warm_up_epochs
    if not isinstance(epochs, (int, float)) or not epochs > 0:
        return
    if name_of(plan.schedule) in IGNORING:
        yield Finding(
            "warning",
            "The warm-up is ignored.",
            f"warm_up_epochs={epochs:g}, and the schedule {plan.schedule!r} has no warm-up.",
            "Training starts at the full learning rate.",
            "Choose schedule='cosine', 'linear', 'constant' or 'linear_decay_with_warm_up'.",
        )
        return
    steps, planned = _steps(patient)
    share = epochs / plan.max_epochs
    warming = epochs * steps / plan.max_epochs if plan.schedule != "linear_decay_with_warm_up" else None
    if share > LARGEST_SHARE:
        never = share >= 1
        yield Finding(
            "error" if never else "warning",
            "The learning rate never reaches its value: the warm-up is as long as the training."
            if never
            else "Most of the training is warm-up.",
            f"warm_up_epochs={epochs:g} of max_epochs={plan.max_epochs}, {steps} steps in all.",
            "The student learns at a fraction of the learning rate.",
            "Shorten the warm-up or train longer.",
        )
    elif warming is not None and round(warming) == 0:
        yield Finding(
            "warning",
            "There are too few steps for the warm-up: it has none.",
            f"warm_up_epochs={epochs:g} of {plan.max_epochs} epochs with {steps} steps are {warming:.2f} steps.",
            "Training starts at the full learning rate.",
            "Lengthen the warm-up, or train more steps.",
        )
    elif planned is not None and steps < planned and warming is None and steps < epochs * planned / plan.max_epochs:
        yield Finding(
            "error",
            "Training stops before the warm-up has ended.",
            f"{steps} steps, and warm_up_epochs={epochs:g} are {epochs * planned / plan.max_epochs:.0f}.",
            "The learning rate never reaches its value.",
            "Shorten the warm-up, or raise max_steps.",
        )


def _steps(patient: Patient) -> tuple[int, int | None]:
    """Optimiser steps of the training, and what they would be without max_steps."""
    plan, length = patient.plan, loader_length(patient.train_loader)
    most = plan.trainer.get("max_steps", -1)
    limit = plan.trainer.get("limit_train_batches", 1.0)
    if length is None:
        if most and most > 0:
            return int(most), None
        raise CannotTell("the train loader has no length")
    batches = int(length * limit) if isinstance(limit, float) else min(length, limit)
    planned = math.ceil(batches / (plan.trainer.get("accumulate_grad_batches") or 1)) * plan.max_epochs
    return (min(planned, most) if most and most > 0 else planned), planned
