"""Checks and preparation that every loss shares: fitting shapes, detached teacher, full precision."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError
from knowledge_distillation.kernels.softening import FLOAT64_FROM_TEMPERATURE as FLOAT64_FROM_TEMPERATURE
from knowledge_distillation.kernels.softening import LOWEST_LOGIT as LOWEST_LOGIT
from knowledge_distillation.kernels.softening import full_precision as full_precision
from knowledge_distillation.kernels.softening import softened as softened


class Shaped(Protocol):
    """A tensor, or what stands in its place."""

    @property
    def shape(self) -> torch.Size: ...


def check_positive(name: str, value: float) -> float:
    """Return `value` if it is a finite number above 0, else raise ConfigError naming it."""
    if not is_finite_number(value) or value <= 0:
        raise ConfigError(f"{name} must be a finite number above 0, got {value!r}.")
    return float(value)


def check_between(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if low <= value <= high, else raise ConfigError naming it."""
    if not is_finite_number(value) or not low <= value <= high:
        raise ConfigError(f"{name} must be a number from {low} to {high}, got {value!r}.")
    return float(value)


def check_weight(name: str, value: float) -> float:
    """Return `value` if it is a finite number of at least 0, else raise ConfigError naming it."""
    if not is_finite_number(value) or value < 0:
        raise ConfigError(
            f"{name} must be a finite number of at least 0, got {value!r}: below 0 the student would be driven away."
        )
    return float(value)


def check_same_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    """Raise ShapeError unless both tensors have the same shape."""
    if student.shape != teacher.shape:
        raise ShapeError(
            f"teacher_{what} must have the shape of student_{what}: student {tuple(student.shape)}, "
            f"teacher {tuple(teacher.shape)}. They would be broadcast silently and train the wrong thing; "
            "choose outputs that match, map the classes, or put a projector on the student."
        )


def check_labels(labels: Tensor | None, student_logits: Shaped) -> Tensor:
    """Return int64 class labels of shape [*batch] that fit `student_logits` [*batch, classes]."""
    if labels is None:
        raise ConfigError("labels are needed by this loss: class ids of shape [*batch]. None came.")
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        came = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ModelContractError(
            f"labels must be a tensor of class ids, whole numbers of shape [*batch], got {came}: 0.9 would be taken "
            "for class 0. Convert them in the dataset, with .long()."
        )
    if labels.shape != student_logits.shape[:-1]:
        raise ShapeError(
            f"labels must have shape {tuple(student_logits.shape[:-1])} (the logits' shape without the class "
            f"axis), got {tuple(labels.shape)}."
        )
    return labels.detach().long()


def hide_masked(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Put 0 into masked items, so that whatever padding holds (even NaN) reaches no gradient.

    Args:
        tensor: shape [*items, ...].
        mask: shape [*items], True where the item counts, or None.
    """
    if mask is None:
        return tensor
    if tensor.shape[: mask.dim()] != mask.shape:
        raise ShapeError(
            f"mask must match the leading axes of the input {tuple(tensor.shape)}, got {tuple(mask.shape)}."
        )
    keep = mask.bool().reshape(*mask.shape, *[1] * (tensor.dim() - mask.dim()))
    return torch.where(keep, tensor, torch.zeros_like(tensor))


def log_probabilities(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Log of softmax(logits / temperature) over the last axis, safe at any scale.

    Half precision is upcast to float32, high temperatures to float64, and -inf logits (classes that
    cannot occur) become the most negative usable number, so that later products stay finite.

    Args:
        logits: shape [*batch, classes]; gradient flows, except into classes at -inf.
        temperature: above 0; a tensor broadcasts against the logits.

    Returns:
        shape [*batch, classes], float32 or float64.
    """
    return torch.log_softmax(softened(logits, temperature), dim=-1)


def paired_log_probabilities(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both sides, checked to fit, masked items hidden, the teacher detached.

    Args:
        student_logits: shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached.
        temperature: above 0.
        mask: shape [*batch], True where the item counts.

    Returns:
        Student and teacher log-probabilities, shape [*batch, classes], float32 or float64.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    check_positive("temperature", temperature)
    student = log_probabilities(hide_masked(student_logits, mask), temperature)
    teacher = log_probabilities(hide_masked(teacher_logits.detach(), mask), temperature)
    return student, teacher
