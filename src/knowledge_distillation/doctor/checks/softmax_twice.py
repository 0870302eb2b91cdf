"""A softmax on probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import GIVEN_PROB
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.whose import both_sides

TOLERANCE = 2e-3


def softmax_twice(patient: Patient) -> Iterator[Finding]:
    """Probabilities are given as logits, so that the loss takes softmax of softmax; or a model took it twice."""
    for whose, signals in both_sides(patient):
        logits = logits_or_none(signals)
        if logits is None or logits.shape[-1] < 2:
            continue
        scores = logits.detach().float()
        axis = 1 if scores.dim() == 4 and not _is_distribution(scores, -1) else -1
        if _is_distribution(scores, axis):
            again = scores.softmax(dim=axis).amax(dim=axis).mean()
            yield Finding(
                "error",
                f"The {whose} gives probabilities where logits are expected.",
                f"All values are from {float(scores.min()):.3g} to {float(scores.max()):.3g} and sum to 1; after the "
                f"softmax of the loss the likeliest of {scores.shape[axis]} classes has {float(again):.3f} on average.",
                "Softmax is taken twice: what is taught is nearly uniform, and gradients nearly vanish.",
                "Return the scores before the softmax, or an adapter that gives Signals(logits=probabilities.log()).",
            )
            continue
        prob = signals.features.get(GIVEN_PROB)
        temperature = patient.plan.temperature
        if isinstance(prob, Tensor) and prob.shape == scores.shape:
            right = (scores / temperature).softmax(dim=-1)
            twice = right.softmax(dim=-1)
            if _near(prob, twice) and not _near(prob, right):
                yield Finding(
                    "error",
                    f"The {whose}'s probabilities are the softmax of a softmax.",
                    f"They differ from softmax(softmax(logits / {temperature:g})) by "
                    f"{float((prob - twice).abs().max()):.1e} and from softmax(logits / {temperature:g}) by "
                    f"{float((prob - right).abs().max()):.2g}.",
                    "What is taught is nearly uniform.",
                    "Take softmax once, of the raw scores.",
                )


def _is_distribution(values: Tensor, axis: int) -> bool:
    inside = bool(((values >= 0) & (values <= 1)).all())
    return inside and bool(((values.sum(dim=axis) - 1).abs() < TOLERANCE).all())


def _near(some: Tensor, others: Tensor) -> bool:
    return bool(torch.allclose(some.detach().float(), others, atol=TOLERANCE))
