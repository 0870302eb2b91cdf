"""Cross-entropy with hard labels: what the student would train on without a teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import check_between, check_labels, hide_masked, softened
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

UNLABELLED = -100
"""Counts nowhere in the toolkit, whatever else is to be ignored."""


def cross_entropy(
    student_logits: Tensor,
    teacher_logits: Tensor | None = None,
    *,
    labels: Tensor,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    class_axis: int = -1,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy between the student and the labels; the teacher is not looked at.

    -log softmax(student_logits)[label], mixed with label_smoothing of the uniform distribution.

    When: as the supervised term beside any distillation term, and alone as the control.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: ignored; accepted so that every loss is called the same way.
        labels: class ids from 0 to classes - 1, or `ignore_index`, shape [*batch].
        label_smoothing: share of the uniform distribution in the target, 0 to 1.
        ignore_index: items with this label do not count, such as 255 of unlabelled pixels; nor do those with -100.
        class_axis: where the classes are; 1 for segmentation, whose logits are [batch, classes, height, width].
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if labels or mask do not have the shape [*batch].
        ConfigError: if labels are missing or label_smoothing is outside 0 to 1.

    Example:
        >>> import torch
        >>> round(cross_entropy(torch.tensor([[1.0, 0.0]]), labels=torch.tensor([0])).item(), 4)
        0.3133

    Reference: the standard maximum-likelihood loss; label smoothing from Szegedy et al. (2015), arXiv:1512.00567.
    """
    check_between("label_smoothing", label_smoothing, 0.0, 1.0)
    if class_axis != -1:
        student_logits = student_logits.movedim(class_axis, -1)
    labels = check_labels(labels, student_logits)
    if ignore_index != UNLABELLED:
        labels = labels.masked_fill(labels == UNLABELLED, ignore_index)
    logits = softened(hide_masked(student_logits, mask))
    if mask is not None:
        labels = labels.masked_fill(~mask.bool(), ignore_index)
    values = F.cross_entropy(
        logits.flatten(end_dim=-2),
        labels.flatten(),
        ignore_index=ignore_index,
        reduction="sum" if reduction == "mean" else "none",
        label_smoothing=label_smoothing,
    )
    if reduction == "mean":
        return values / (labels != ignore_index).sum().clamp(min=1)
    return reduce(values.view(labels.shape), mask=None, reduction=reduction)


class CrossEntropy(Loss):
    """`cross_entropy` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "sequences"),
        signal="logits",
        needs=("labels",),
        uses_teacher=False,
        exceptions={"zero_at_equality": "the target is the label, not the teacher"},
    )

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        ignore_index: int = -100,
        class_axis: int = -1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.label_smoothing = check_between("label_smoothing", label_smoothing, 0.0, 1.0)
        self.ignore_index = ignore_index
        self.class_axis = class_axis
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        labels: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return cross_entropy(
            student_logits,
            labels=labels,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            class_axis=self.class_axis,
            mask=mask,
            reduction=self.reduction,
        )
