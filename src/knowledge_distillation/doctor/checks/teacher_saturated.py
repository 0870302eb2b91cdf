"""A teacher whose softened answers are still one-hot."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from knowledge_distillation.doctor.answers import class_axis_last
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient

LARGEST = 0.999


def teacher_saturated(patient: Patient) -> Iterator[Finding]:
    """At the temperature of a term the teacher's answers are one-hot: they say no more than labels do."""
    patient.teacher_stands_alone()
    logits = logits_or_none(patient.taught)
    if logits is None or logits.shape[-1] < 2:
        raise CannotTell("the teacher gives no logits for all classes")
    labels = patient.labels_of(patient.content)
    scores = class_axis_last(logits.detach(), labels).float() if labels is not None else logits.detach().float()
    mask = patient.said.mask
    if mask is not None and mask.shape == scores.shape[:-1]:
        scores = scores[mask.bool()]
    for bound in patient.objective.bound:
        softens = getattr(bound.loss, "temperature", 1.0)
        if bound.is_own or not bound.uses_teacher or bound.teacher != "logits" or not isinstance(softens, (int, float)):
            continue
        largest = _mean_largest(scores, float(softens))
        if largest > LARGEST:
            yield Finding(
                "warning",
                f"At temperature {softens:g} of term {bound.name!r} the teacher's answers are one-hot.",
                f"The likeliest class has {largest:.5f} on average over {scores.numel() // scores.shape[-1]} items.",
                "They say what the labels say; nothing of how classes resemble each other is taught.",
                f"Raise the temperature: at {4 * softens:g} it would be {_mean_largest(scores, 4 * softens):.3f}.",
            )


def _mean_largest(scores: Tensor, temperature: float) -> float:
    return float((scores / temperature).softmax(dim=-1).amax(dim=-1).mean())
