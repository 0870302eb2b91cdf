"""A softened loss without the factor that belongs to its temperature."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.losses import (
    ForwardKL,
    GeneralizedJSD,
    KDFromLogProbs,
    Loss,
    ReverseKL,
    SoftCrossEntropy,
    SymmetricKL,
)
from knowledge_distillation.objective.binding import BoundTerm

UNSCALED = (ForwardKL, ReverseKL, SymmetricKL, GeneralizedJSD, SoftCrossEntropy)
"""Losses of the catalogue that take a temperature and leave its factor to the weight."""
TEMPERATURES = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0, 20.0)
LOWEST = 1.5
HARM = (
    "Its gradient is smaller by the squared temperature than the labels': the teacher counts for next to nothing, and "
    "weights from papers do not hold."
)


def temperature_squared(patient: Patient) -> Iterator[Finding]:
    """A loss at a temperature lacks the factor temperature squared, next to terms that have none.

    A loss of the user's own is asked about two random pairs of logits: its value is that of a softened divergence with
    or without the factor, or its gradient falls with the square of its temperature.
    """
    bounds = [bound for bound in patient.objective.bound if not bound.is_monitor]
    for bound in bounds:
        found = _missing(patient, bound)
        if found is None:
            continue
        temperature, evidence = found
        yield Finding(
            "warning" if len(bounds) > 1 else "note",
            f"Term {bound.name!r} is softened at temperature {temperature:g} and lacks the factor "
            f"{temperature**2:g} that goes with it.",
            evidence,
            HARM,
            f"Multiply it by temperature**2, use the loss 'kd', or raise its weight {temperature**2:g}-fold.",
        )


def _missing(patient: Patient, bound: BoundTerm) -> tuple[float, str] | None:
    """(temperature, evidence) of a term without its factor; None for any other."""
    loss = bound.loss
    if isinstance(loss, KDFromLogProbs):
        asked = float(patient.plan.temperature)
        lacking = asked >= LOWEST and loss.temperature < asked / 1.2
        return (asked, f"Log-probabilities are made at {asked:g}, and the loss multiplies by "
                f"{loss.temperature**2:g}.") if lacking else None  # fmt: skip
    if isinstance(loss, UNSCALED):
        given = float(loss.temperature)
        return (given, f"{type(loss).__name__}(temperature={given:g}) has no such factor.") if given >= LOWEST else None
    if isinstance(loss, Loss) or bound.is_own or not bound.uses_teacher or bound.needs or bound.student != "logits":
        return None
    if bound.projector is not None or not callable(loss):
        return None
    logits = logits_or_none(patient.said)
    return _of_own_loss(loss, 10 if logits is None or logits.shape[-1] < 2 else min(logits.shape[-1], 64))


def _of_own_loss(loss: Callable[..., Any], classes: int) -> tuple[float, str] | None:
    try:
        asked = copy.deepcopy(loss)
        return _by_value(asked, classes) or _by_gradient(asked, classes)
    except Exception:  # a loss of another kind, that does not take any two tensors
        return None


def _by_value(loss: Callable[..., Any], classes: int) -> tuple[float, str] | None:
    pairs = [_pair(classes, seed) for seed in (1, 2)]
    values = [float(loss(student, teacher)) for student, teacher in pairs]
    for temperature in TEMPERATURES:
        for name, divergence in FORMULAS.items():
            for reduction, size in {"mean over items": 1.0, "mean over items and classes": float(classes)}.items():
                expected = [float(divergence(*pair, temperature)) / size for pair in pairs]
                if all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(values, expected, strict=True)):
                    return temperature, (
                        f"On random logits it gives {values[0]:.5f}, which is the {name} at temperature "
                        f"{temperature:g}, {reduction}, times 1."
                    )
    return None


def _by_gradient(loss: Any, classes: int) -> tuple[float, str] | None:
    given = getattr(loss, "temperature", getattr(loss, "T", None))
    name = "temperature" if hasattr(loss, "temperature") else "T"
    if not isinstance(given, (int, float)) or given < LOWEST:
        return None
    norms = []
    for temperature in (8.0, 16.0):
        setattr(loss, name, temperature)
        student, teacher = _pair(classes, 1)
        student.requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(student, teacher), student)
        norms.append(float(gradient.norm()))
    if min(norms) == 0 or not norms[0] / norms[1] > 3:
        return None
    return float(given), f"Its gradient falls {norms[0] / norms[1]:.2f}-fold from temperature 8 to 16."


def _pair(classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(2, 8, classes, generator=generator)).unbind()
    return student, teacher


def _forward_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    said, taught = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return F.kl_div(said, taught, log_target=True, reduction="batchmean")


def _reverse_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return _forward_kl(teacher, student, temperature)


def _cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(-1))


FORMULAS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "KL divergence of teacher and student": _forward_kl,
    "KL divergence of student and teacher": _reverse_kl,
    "cross-entropy with the teacher": _cross_entropy,
}
