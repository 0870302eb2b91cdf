"""A student that is no smaller than its teacher."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.teachers import FollowsStudent


def student_size(patient: Patient) -> Iterator[Finding]:
    """The student has more parameters than the teacher."""
    if not patient.teacher_models:
        raise CannotTell("the teacher has no modules here")
    if isinstance(patient.teacher, FollowsStudent):
        raise CannotTell("the teacher is made of the student")
    own = _size(patient.student)
    theirs = sum(_size(model) for model in patient.teacher_models)
    if not theirs:
        raise CannotTell("the teacher has no parameters")
    if own > theirs:
        yield Finding(
            "warning",
            "The student is larger than the teacher.",
            f"{own:,} parameters, and the teacher has {theirs:,} ({own / theirs:.2f} times).",
            "Nothing is compressed: perhaps the two were passed in the wrong order.",
            "distill(teacher, student, ...) takes the teacher first.",
        )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
