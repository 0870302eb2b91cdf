"""Layers of unequal shapes, and nothing that makes them comparable."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.terms import tensors


def projector(patient: Patient) -> Iterator[Finding]:
    """A term compares layers of other shapes without a projector: it raises, or they are broadcast silently."""
    for look in patient.terms:
        if not look.unequal or look.bound.projector is not None:
            continue
        if look.error is None and look.is_known_loss:
            continue  # the losses that take unequal shapes say so by not raising
        shapes = [(tuple(said.shape), tuple(taught.shape))
                  for said, taught in zip(tensors(look.said), tensors(look.taught), strict=False)]  # fmt: skip
        yield Finding(
            "error",
            f"Term {look.name!r} compares layers of other shapes and has no projector.",
            f"Student and teacher: {shapes[:3]}"
            + (f"; {type(look.error).__name__}: {look.error}" if look.error else "; the loss broadcasts them silently")
            + ".",
            "Training stops, or every number of the student is compared with unrelated ones of the teacher.",
            "Give the term projector='auto'.",
        )
