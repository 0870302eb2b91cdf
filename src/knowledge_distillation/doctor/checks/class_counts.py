"""Teacher and student with another number of classes."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient


def class_counts(patient: Patient) -> Iterator[Finding]:
    """Teacher and student answer with another number of classes."""
    said, taught = logits_or_none(patient.said), logits_or_none(patient.taught)
    if said is None or taught is None:
        raise CannotTell("the models do not both give logits")
    if said.dim() == 3 or said.dim() != taught.dim():
        raise CannotTell("the logits are those of sequences, or of other items")
    axis = 1 if said.dim() == 4 else -1
    own, theirs = said.shape[axis], taught.shape[axis]
    if own == theirs:
        return
    compared = [bound.name for bound in patient.objective.bound if bound.uses_teacher and bound.student == "logits"]
    extra = " The teacher may have a background class at 0." if theirs == own + 1 else ""
    yield Finding(
        "error" if compared else "note",
        f"The student has {own} classes and the teacher {theirs}.",
        f"Logits {tuple(said.shape)} and {tuple(taught.shape)}; compared by {', '.join(compared) or 'no term'}.",
        "They cannot be compared class by class, or are broadcast to each other silently.",
        "Give both one list of classes: select the teacher's rows for the student's classes, or compare features."
        + extra,
    )
