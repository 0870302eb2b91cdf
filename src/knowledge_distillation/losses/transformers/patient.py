"""Patient knowledge distillation: normalised [CLS] states of several layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import unit


def patient(
    student_hidden: Tensor | Sequence[Tensor],
    teacher_hidden: Tensor | Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Patient distillation (PKD): squared distance of the normalised [CLS] states, summed over the layers.

    sum over layers of |h_s / |h_s| - h_t / |h_t||**2, with h the state at position 0.

    When: fine-tuning a shallower encoder as wide as the teacher on a classification task. The paper pairs
    the student's layers but the last with every k-th (PKD-Skip) or the last (PKD-Last) teacher layers.

    Args:
        student_hidden: one tensor, or one a layer: hidden states [N, L, width], of which position 0
            is taken, or the [CLS] states [N, width]. Receives gradient.
        teacher_hidden: the teacher's paired layers, same shapes. Detached inside.
        mask: shape [N], True where the sample counts, or the token mask [N, L], whose position 0 says so;
            None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [N].

    Returns:
        Dimensionless, from 0 (same directions) to 4 a layer: a scalar, or [N] for "none". 0 when no sample
        counts.

    Raises:
        ShapeError: if the numbers of layers or the shapes differ, or the mask does not match the samples.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> round(patient(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 5.0]])).item(), 4)
        2.0

    Reference: Sun, Cheng, Gan, Liu (2019), arXiv:1908.09355.

    Differs: the paper sums over the batch, which is reduction="sum". The authors' code averages over
        layers and width too: divide by their product for its scale.
    """
    student_layers = [student_hidden] if isinstance(student_hidden, Tensor) else list(student_hidden)
    teacher_layers = [teacher_hidden] if isinstance(teacher_hidden, Tensor) else list(teacher_hidden)
    if not student_layers or len(student_layers) != len(teacher_layers):
        raise ShapeError(
            f"student and teacher must have as many layers, got {len(student_layers)} and {len(teacher_layers)}: "
            "the rest would go unpaired. Choose one teacher layer for each student layer."
        )
    counted = mask[:, 0] if mask is not None and mask.dim() == 2 else mask
    values = []
    for student, teacher in zip(student_layers, teacher_layers, strict=True):
        check_same_shape(student, teacher, "hidden")
        ours = unit(full_precision(hide_masked(_first_position(student), counted)))
        theirs = unit(full_precision(hide_masked(_first_position(teacher.detach()), counted)))
        values.append((ours - theirs).square().sum(dim=-1))
    return reduce(torch.stack(values).sum(dim=0), mask=counted, reduction=reduction)


def _first_position(hidden: Tensor) -> Tensor:
    if hidden.dim() not in (2, 3):
        raise ShapeError(f"hidden states must have shape [N, L, width] or [N, width], got {tuple(hidden.shape)}.")
    return hidden[:, 0] if hidden.dim() == 3 else hidden


class Patient(Loss):
    """`patient` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("transformers",),
        signal="hidden states",
        paper=Paper(
            title="Patient Knowledge Distillation for BERT Model Compression",
            authors="Sun, Cheng, Gan, Liu",
            year=2019,
            arxiv="1908.09355",
        ),
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_hidden: Tensor | Sequence[Tensor],
        teacher_hidden: Tensor | Sequence[Tensor],
        *,
        mask: Tensor | None = None,
    ) -> Tensor:
        return patient(student_hidden, teacher_hidden, mask=mask, reduction=self.reduction)
