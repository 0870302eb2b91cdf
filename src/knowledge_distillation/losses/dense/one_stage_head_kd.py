"""Distillation of one-stage detection heads, scaled by what the teacher takes for an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.dense.checks import check_head, check_weights
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

Activation = Literal["softmax", "sigmoid"]


def one_stage_head_kd(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    activation: Activation = "softmax",
    objectness_weight: float = 1.0,
    box_weight: float = 1.0,
    class_weight: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared errors of objectness, box and class probabilities; the last two scaled by the teacher's objectness.

    objectness_weight * (o_s - o_t)**2 + o_t * (box_weight * |b_s - b_t|**2 + class_weight * |p_s - p_t|**2), with
    o = sigmoid(objectness), b the box and p the class probabilities. One value per anchor.

    When: YOLO and its kin: nearly all anchors are background, and what the teacher says of boxes and classes
    there is noise.

    Args:
        student: objectness [*items], boxes [*items, 4], class scores [*items, classes]; the first and last
            unnormalised. Receive gradient.
        teacher: the same for the same anchors. Detached inside.
        activation: "softmax" for one class an anchor, as in YOLOv2; "sigmoid" where classes are independent.
        objectness_weight: >= 0; the paper uses one weight for all three terms.
        box_weight: >= 0.
        class_weight: >= 0.
        mask: shape [*items], True where the anchor counts (such as the teacher's strongest of each
            neighbourhood); None counts all.
        reduction: "mean" over counted anchors, "sum", or "none" for one value per anchor, shape [*items].

    Returns:
        Squared probabilities plus squared box units: a scalar, or [*items] for "none". 0 when no anchor counts.

    Raises:
        ShapeError: if student, teacher or mask do not fit each other.
        ConfigError: if a weight is negative, or activation or reduction is unknown.

    Example:
        >>> import torch
        >>> student = [torch.tensor([0.0]), torch.zeros(1, 4), torch.tensor([[0.0, 0.0]])]
        >>> teacher = [torch.tensor([9.0]), torch.ones(1, 4), torch.tensor([[0.0, 0.0]])]
        >>> round(one_stage_head_kd(student, teacher).item(), 4)
        4.2494

    Reference: Mehta, Ozturk (2018), section 3.1, eq. 2-4, arXiv:1805.06361.

    Differs: the paper takes the errors of YOLO, L1 or L2; here all three are squared.
        Its suppression of neighbouring anchors on the feature map is the caller's `mask`.
    """
    check_activation(activation)
    check_weights(objectness_weight=objectness_weight, box_weight=box_weight, class_weight=class_weight)
    check_head(student, teacher, names=("objectness", "boxes", "class_logits"))
    objectness, boxes, scores = (full_precision(hide_masked(part, mask)) for part in student)
    likely, target_boxes, target_scores = (full_precision(hide_masked(part.detach(), mask)) for part in teacher)
    likely = likely.sigmoid()
    box_error = (boxes - target_boxes).square().sum(dim=-1)
    class_error = (probabilities(scores, activation) - probabilities(target_scores, activation)).square().sum(dim=-1)
    values = objectness_weight * (objectness.sigmoid() - likely).square()
    values = values + likely * (box_weight * box_error + class_weight * class_error)
    return reduce(values, mask=mask, reduction=reduction)


def probabilities(scores: Tensor, activation: Activation) -> Tensor:
    """Class probabilities, exclusive or independent."""
    return scores.softmax(dim=-1) if activation == "softmax" else scores.sigmoid()


def check_activation(activation: Activation) -> Activation:
    """Return `activation` if it is known, else raise ConfigError."""
    if activation not in get_args(Activation):
        raise ConfigError(f"activation must be 'softmax' or 'sigmoid', got {activation!r}.")
    return activation


class OneStageHeadKD(Loss):
    """`one_stage_head_kd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("dense",),
        signal="objectness, boxes and class scores",
        paper=Paper(
            title="Object Detection at 200 Frames per Second",
            authors="Mehta, Ozturk",
            year=2018,
            arxiv="1805.06361",
        ),
        same_classes=True,
    )

    def __init__(
        self,
        activation: Activation = "softmax",
        *,
        objectness_weight: float = 1.0,
        box_weight: float = 1.0,
        class_weight: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_weights(objectness_weight=objectness_weight, box_weight=box_weight, class_weight=class_weight)
        self.activation: Activation = check_activation(activation)
        self.objectness_weight = objectness_weight
        self.box_weight = box_weight
        self.class_weight = class_weight
        self.reduction: Reduction = reduction

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, mask: Tensor | None = None) -> Tensor:
        return one_stage_head_kd(
            student,
            teacher,
            activation=self.activation,
            objectness_weight=self.objectness_weight,
            box_weight=self.box_weight,
            class_weight=self.class_weight,
            mask=mask,
            reduction=self.reduction,
        )
