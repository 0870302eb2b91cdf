"""KL divergence of yes-or-no predictions, one for each class, for multi-label tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    check_same_shape,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.forward_kl import forward_kl


def binary_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    class_mask: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL(teacher || student) of independent yes-or-no predictions, summed over the classes.

    sum over classes of p_t * log(p_t / p_s) + (1 - p_t) * log((1 - p_t) / (1 - p_s)),
    with p = sigmoid(logits / temperature).

    When: multi-label classification, tagging, detection scores: every class is answered on its own, so that a
    softmax over the classes, as in `kd`, would compare what does not compete.

    Args:
        student_logits: scores before the sigmoid, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless. No factor of the squared temperature is
            applied here: put it into the weight.
        class_mask: shape [classes] or [*batch, classes], True where the class counts, for partly
            labelled data; None counts all.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or a mask does not match the items or the classes.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> round(binary_kl(student, teacher).item(), 4)
        0.3278

    Reference: Yang et al. (2023), multi-label logits distillation, arXiv:2308.06453.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    check_positive("temperature", temperature)
    counted = _counted_classes(student_logits, class_mask, mask)
    values = forward_kl(
        _yes_or_no(hide_masked(student_logits, counted)),
        _yes_or_no(hide_masked(teacher_logits.detach(), counted)),
        temperature=temperature,
        mask=counted,
        reduction="none",
    )
    return reduce(values.sum(dim=-1), mask=mask, reduction=reduction)


def _yes_or_no(logits: Tensor) -> Tensor:
    """Two-class logits whose softmax is the sigmoid and its complement, shape [*batch, classes, 2]."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


def _counted_classes(logits: Tensor, class_mask: Tensor | None, mask: Tensor | None) -> Tensor | None:
    if class_mask is not None and class_mask.shape not in (logits.shape, logits.shape[-1:]):
        raise ShapeError(
            f"class_mask must have shape {tuple(logits.shape[-1:])} or {tuple(logits.shape)}, got "
            f"{tuple(class_mask.shape)}."
        )
    if mask is not None and mask.shape != logits.shape[:-1]:
        raise ShapeError(f"mask must have shape {tuple(logits.shape[:-1])}, got {tuple(mask.shape)}.")
    items = None if mask is None else mask.bool().unsqueeze(-1).expand_as(logits)
    if class_mask is None:
        return items
    classes = class_mask.bool().expand_as(logits)
    return classes if items is None else classes & items


class BinaryKL(Loss):
    """`binary_kl` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("regression", "logits"),
        signal="logits",
        paper=Paper(
            title="Multi-Label Knowledge Distillation",
            authors="Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang",
            year=2023,
            arxiv="2308.06453",
        ),
        same_classes=True,
        exceptions={"shift_invariant": "a sigmoid, unlike a softmax, moves when all logits move"},
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        class_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return binary_kl(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            class_mask=class_mask,
            mask=mask,
            reduction=self.reduction,
        )
