"""Distillation of two-stage detection heads: class scores and boxes of proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.dense.checks import check_head, check_weights
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, hide_masked, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def two_stage_head_kd(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    target_boxes: Tensor,
    foreground: Tensor | None = None,
    background_class: int = 0,
    background_weight: float = 1.5,
    margin: float = 0.0,
    class_weight: float = 0.5,
    box_weight: float = 0.5,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Class-weighted KL of the class scores, and the box error where the student is worse than the teacher.

    class_weight * sum over classes c of w_c * p_t[c] * (log p_t[c] - log p_s[c]), with w = background_weight for
    the background and 1 for the others, plus box_weight * |s - y|**2 where |s - y|**2 + margin > |t - y|**2,
    else 0, with s, t, y the box offsets of student, teacher and ground truth. One value per proposal.

    When: Faster R-CNN and its kin, on proposals that both models score; beside the usual hard losses.

    Args:
        student: class scores [*items, classes] and box offsets [*items, 4]. Receive gradient.
        teacher: the same for the same proposals. Detached inside.
        target_boxes: the offsets to learn, shape [*items, 4].
        foreground: True where the proposal has a box to learn, shape [*items]; None for all. Others keep their
            class term.
        background_class: index of the background among the classes; 0, or -1 where it comes last.
        background_weight: >= 0; the paper uses 1.5.
        margin: how much better than the teacher a student must be to be left alone, >= 0, in squared offsets.
        class_weight: >= 0; the soft share beside the loss on the hard labels.
        box_weight: >= 0; beside the usual smooth L1 loss.
        mask: shape [*items], True where the proposal counts; None counts all.
        reduction: "mean" over counted proposals, "sum", or "none" for one value per proposal, shape [*items].

    Returns:
        Nats plus squared offsets: a scalar, or [*items] for "none". 0 when no proposal counts.

    Raises:
        ShapeError: if student, teacher, targets, foreground or mask do not fit each other.
        ConfigError: if a weight or margin is negative, background_class is no class, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 2.0]])]
        >>> teacher = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 1.0]])]
        >>> round(two_stage_head_kd(student, teacher, target_boxes=torch.zeros(1, 4)).item(), 4)
        2.0746

    Reference: Chen, Choi, Yu, Han, Chandraker (2017), sections 3.2 and 3.3, eq. 3 and 4, NIPS.

    Differs: the paper writes a weighted cross-entropy; the teacher's weighted entropy is subtracted here,
        which leaves the gradient as it is and makes the class term 0 at equality. Class weights move its
        minimum off the teacher, so that it can fall slightly below 0.
    """
    check_weights(background_weight=background_weight, margin=margin, class_weight=class_weight, box_weight=box_weight)
    check_head(student, teacher, names=("class_logits", "boxes"))
    log_student, log_teacher = paired_log_probabilities(student[0], teacher[0], mask=mask)
    classes = log_student.shape[-1]
    if not -classes <= background_class < classes:
        raise ConfigError(f"background_class must be the index of one of {classes} classes, got {background_class!r}.")
    if target_boxes.shape != student[1].shape:
        raise ShapeError(
            f"target_boxes must have the shape of the boxes, {tuple(student[1].shape)}, got "
            f"{tuple(target_boxes.shape)}: errors would be taken against other proposals. Pass the regression "
            "targets of the same proposals."
        )
    weights = log_student.new_ones(classes)
    weights[background_class] = background_weight
    values = class_weight * (weights * log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)
    target = full_precision(hide_masked(target_boxes.detach(), mask))
    wrong = (full_precision(hide_masked(student[1], mask)) - target).square().sum(dim=-1)
    wrong_teacher = (full_precision(hide_masked(teacher[1].detach(), mask)) - target).square().sum(dim=-1)
    bounded = torch.where(wrong + margin > wrong_teacher, wrong, torch.zeros_like(wrong))
    if foreground is not None:
        bounded = hide_masked(bounded, foreground)
    return reduce(values + box_weight * bounded, mask=mask, reduction=reduction)


class TwoStageHeadKD(Loss):
    """`two_stage_head_kd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("dense",),
        signal="class scores and boxes",
        paper=Paper(
            title="Learning Efficient Object Detection Models with Knowledge Distillation",
            authors="Chen, Choi, Yu, Han, Chandraker",
            year=2017,
            venue="NIPS",
        ),
        needs=("target_boxes",),
        same_classes=True,
        exceptions={"non_negative": "class weights move the minimum off the teacher, a little below 0"},
    )

    def __init__(
        self,
        *,
        background_class: int = 0,
        background_weight: float = 1.5,
        margin: float = 0.0,
        class_weight: float = 0.5,
        box_weight: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_weights(
            background_weight=background_weight, margin=margin, class_weight=class_weight, box_weight=box_weight
        )
        self.background_class = background_class
        self.background_weight = background_weight
        self.margin = margin
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.reduction: Reduction = reduction

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        *,
        target_boxes: Tensor,
        foreground: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return two_stage_head_kd(
            student,
            teacher,
            target_boxes=target_boxes,
            foreground=foreground,
            background_class=self.background_class,
            background_weight=self.background_weight,
            margin=self.margin,
            class_weight=self.class_weight,
            box_weight=self.box_weight,
            mask=mask,
            reduction=self.reduction,
        )
