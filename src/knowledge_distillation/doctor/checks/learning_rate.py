"""A learning rate at which training diverges."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.doctor.asking import device_of, prepared
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, first_items
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.samples import FULL_ITEMS
from knowledge_distillation.errors import DistillationError
from knowledge_distillation.objective import Objective
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import ReadsStudent
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.loaders import loader_length
from knowledge_distillation.training.optimizers import make_optimizer
from knowledge_distillation.training.pipelines import to_device
from knowledge_distillation.training.schedules import make_schedule

STEPS = 10
GROWTH, EXPLOSION = 3.0, 20.0
"""Times the first loss: still so at the end, or ever on the way. Healthy trainings stay below 2."""
MOST_BATCHES = 4


def learning_rate(patient: Patient) -> Iterator[Finding]:
    """The loss explodes or becomes NaN within ten steps at this learning rate.

    A copy of the student is trained for ten steps on the first batches, with copies of the objective and an optimiser
    and schedule of its own.
    """
    if patient.models_agree:
        raise CannotTell("the student says what the teacher says already, so that its loss begins at 0")
    try:
        student, objective = copy.deepcopy(patient.student), copy.deepcopy(patient.ready)
    except (RuntimeError, TypeError) as error:  # tensors with a graph, locks, open files
        raise CannotTell(f"the student cannot be copied: {error}") from error
    batches = [first_items(batch, FULL_ITEMS // MOST_BATCHES) for batch in patient.batches[:MOST_BATCHES]]
    if any(term.views for term in objective.terms.values()):
        raise CannotTell("its terms read views, which only training makes")
    taught = [patient.taught_for(batch, place) for place, batch in enumerate(batches)]
    with patient.blaming("student"):
        losses = _losses(patient, student, objective, batches, taught)
    first, last = losses[0], losses[-1]
    diverged = not all(map(math.isfinite, losses))
    grown = last > GROWTH * abs(first) + 1e-3 or max(losses) > EXPLOSION * abs(first) + 1e-3
    if math.isfinite(first) and (diverged or grown):
        yield Finding(
            "error" if diverged else "warning",
            f"Training diverges within {STEPS} steps at learning_rate={patient.plan.learning_rate:g}.",
            "Loss: " + ", ".join(f"{value:.4g}" for value in losses) + ".",
            "The student's weights are destroyed at the start, and what follows starts from there.",
            "Divide the learning rate by 10, or give the schedule a warm-up.",
        )


def _losses(
    patient: Patient, student: nn.Module, objective: Objective, batches: list[Any], taught: list[Signals | None]
) -> list[float]:
    """The loss before each step, and that of the first batch after the last."""
    plan = patient.plan
    parameters: list[nn.Parameter] = [p for p in (*student.parameters(), *objective.parameters()) if p.requires_grad]
    if not parameters:
        raise CannotTell("nothing is trainable")
    objective.student_parameters = lambda: [p for p in student.parameters() if p.requires_grad]
    try:
        optimizer = make_optimizer(plan.optimizer, parameters, learning_rate=plan.learning_rate)
        made = make_schedule(
            plan.schedule,
            optimizer,
            max_epochs=max(1, plan.max_epochs),
            total_steps=max(STEPS + 1, (loader_length(patient.train_loader) or STEPS) * plan.max_epochs),
            warm_up_epochs=plan.warm_up_epochs,
        )
    except DistillationError as error:
        raise CannotTell(f"the optimizer or schedule cannot be built: {error}") from error
    wanted = patient.wanted("student")
    reader = Reader(student, patient.student_adapter, temperature=plan.temperature, wanted=wanted)
    device = device_of(student)
    clip = plan.trainer.get("gradient_clip_val")
    losses = []
    reader.attach()
    try:
        student.train()
        for step in range(STEPS + 1):
            place = step % len(batches) if step < STEPS else 0
            batch = batches[place]
            content = to_device(batch.content if isinstance(batch, TaughtBatch) else batch, device)
            with torch.enable_grad():
                said = reader.read(content)
                answer = taught[place]
                if isinstance(patient.teacher, ReadsStudent):
                    with prepared(patient.teacher, device):
                        answer = patient.teacher.from_student(said)
                total, _ = objective(said, answer, monitors=False)
                losses.append(float(total.detach()))
                if step == STEPS or not math.isfinite(losses[-1]):
                    break
                optimizer.zero_grad()
                total.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            if made is not None and made["interval"] == "step":
                made["scheduler"].step()
    finally:
        reader.detach()
    return losses
