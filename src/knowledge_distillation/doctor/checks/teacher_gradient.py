"""A teacher that would be trained along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.errors import DistillationError
from knowledge_distillation.objective import as_objective

FIX = "Answer under torch.no_grad() and freeze the teacher: teacher.requires_grad_(False)."


def teacher_gradient(patient: Patient) -> Iterator[Finding]:
    """The teacher's answers carry a graph, or its parameters are among what the optimiser trains."""
    patient.teacher_stands_alone()
    theirs = {id(parameter) for model in patient.teacher_models for parameter in model.parameters()}
    given = patient.plan.objective
    learnt = _trained(given, theirs)
    if learnt:
        yield Finding(
            "error",
            "The optimiser would train the teacher: a loss of the objective holds it.",
            f"{len(learnt)} of its parameters with requires_grad, such as {learnt[0]!r}.",
            "The teacher moves towards the student instead of the other way round.",
            "Freeze it, or keep it out of the loss: a term gets the teacher's signals handed over.",
        )
    taught = logits_or_none(patient.taught)
    if taught is not None and taught.requires_grad:
        yield Finding(
            "warning",
            "The teacher's answers carry a graph.",
            f"requires_grad is True for its logits, shape {tuple(taught.shape)}.",
            "Memory and time go into a gradient of the teacher, and a loss that does not detach trains it.",
            FIX,
        )


def _trained(objective: Any, theirs: set[int]) -> list[str]:
    try:
        made = as_objective(objective)
    except DistillationError:  # the check of the arguments says so
        return []
    parameters: list[tuple[str, Tensor]] = list(made.named_parameters())
    return [name for name, parameter in parameters if parameter.requires_grad and id(parameter) in theirs]
