"""What losses between samples share: one vector a sample, and which samples and pairs count."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.inputs import full_precision, hide_masked


def sample_vectors(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """One vector a sample on both sides: masked samples hidden, upcast, flattened, the teacher detached.

    Args:
        student: shape [batch, ...]. Receives gradient.
        teacher: shape [batch, ...]; the axes after the first may differ from the student's.
        mask: shape [batch], or None.

    Returns:
        Shapes [batch, student width] and [batch, teacher width].

    Raises:
        ShapeError: if the batches differ, an input has no axis after the batch, or the mask is not [batch].
    """
    if min(student.dim(), teacher.dim()) < 2 or student.shape[0] != teacher.shape[0]:
        raise ShapeError(
            f"student and teacher must have shape [batch, ...] with the same samples in the same order: student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}. Relations between other samples would be "
            "compared; feed both models the same batch and keep the batch axis first."
        )
    if mask is not None and mask.shape != student.shape[:1]:
        raise ShapeError(
            f"mask must have one entry per sample, shape {tuple(student.shape[:1])}, got {tuple(mask.shape)}: "
            "a relation has whole samples at its ends. Reduce a finer mask to samples."
        )
    return vectors(student, mask), vectors(teacher.detach(), mask)


def vectors(features: Tensor, mask: Tensor | None) -> Tensor:
    """Features [batch, ...] as [batch, width], at least float32, with 0 in masked samples."""
    return full_precision(hide_masked(features, mask)).flatten(start_dim=1)


def counted_samples(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Bool [batch]: which samples take part in relations."""
    if mask is None:
        return torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
    return mask.bool()


def number(counted: Tensor) -> Tensor:
    """How many are True, at least 1, so that it can be divided by."""
    return counted.sum().clamp(min=1)


def pairs(counted: Tensor) -> Tensor:
    """Bool [batch, batch]: pairs with both ends counted, each sample with itself included."""
    return counted.unsqueeze(0) & counted.unsqueeze(1)


def without_self(allowed: Tensor) -> Tensor:
    """The same pairs without those of a sample with itself."""
    return allowed & ~torch.eye(allowed.shape[0], dtype=torch.bool, device=allowed.device)


def chosen(values: Tensor, allowed: Tensor) -> Tensor:
    """The values where allowed, 0 elsewhere."""
    return torch.where(allowed, values, torch.zeros_like(values))
