"""Regression on the labels that stops once the student is better than the teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_between,
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.regression.penalty import (
    Penalty,
    check_penalty,
    check_predictions,
    penalised,
)

LARGEST_MARGIN = 1e30


def bounded_regression(
    student_prediction: Tensor,
    teacher_prediction: Tensor,
    *,
    labels: Tensor,
    margin: float = 0.0,
    penalty: Penalty = "squared",
    delta: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Teacher-bounded regression: the student's error on the labels, counted only where the teacher's is smaller.

    |s - y|**2 where |s - y|**2 + margin > |t - y|**2, else 0; |.|**2 sums over the outputs.

    When: bounding boxes and other unbounded targets, where the teacher may be far off or even point the
    wrong way. It joins the plain loss on the labels with a weight.

    Args:
        student_prediction: numbers in the target's units, shape [*items, outputs]. Receives gradient.
        teacher_prediction: same shape. Detached inside.
        labels: the true values, same shape. No gradient.
        margin: by how much the student must be better before its error stops counting, 0 or more, squared
            units of the target.
        penalty: "squared" (paper), or "huber" for both errors.
        delta: where Huber's penalty turns linear, > 0, in the target's units; unused when squared.
        mask: shape [*items], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*items].

    Returns:
        Squared units of the target: a scalar, or [*items] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ or lack the output axis, or the mask does not match the items.
        ConfigError: if labels are missing, penalty or reduction is unknown, delta is not a positive finite
            number, or margin is below 0.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> teacher = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
        >>> student = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
        >>> bounded_regression(student, teacher, labels=labels, reduction="none").tolist()
        [4.0, 0.0]

    Reference: Chen, Choi, Yu, Han, Chandraker (2017), section 3.3, eq. 4, NeurIPS 2017.
    """
    check_penalty(penalty, delta)
    check_between("margin", margin, 0.0, LARGEST_MARGIN)
    if labels is None:
        raise ConfigError("labels are needed by this loss: the true values, shape [*items, outputs]. None came.")
    check_same_shape(student_prediction, teacher_prediction, "prediction")
    check_predictions(student_prediction)
    if labels.shape != student_prediction.shape:
        raise ShapeError(
            f"labels must have the predictions' shape {tuple(student_prediction.shape)}, got {tuple(labels.shape)}: "
            "every output needs its true value. Add the output axis with unsqueeze(-1) if it is missing."
        )
    student = full_precision(hide_masked(student_prediction, mask))
    teacher = full_precision(hide_masked(teacher_prediction.detach(), mask))
    truth = hide_masked(labels.detach(), mask).to(student.dtype)
    student_error = penalised(student - truth, penalty, delta).sum(dim=-1)
    teacher_error = penalised(teacher - truth, penalty, delta).sum(dim=-1)
    behind = student_error.detach() + margin > teacher_error
    values = torch.where(behind, student_error, torch.zeros_like(student_error))
    return reduce(values, mask=mask, reduction=reduction)


class BoundedRegression(Loss):
    """`bounded_regression` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("regression",),
        signal="predictions",
        paper=Paper(
            title="Learning Efficient Object Detection Models with Knowledge Distillation",
            authors="Chen, Choi, Yu, Han, Chandraker",
            year=2017,
            venue="NeurIPS",
        ),
        needs=("labels",),
    )

    def __init__(
        self,
        margin: float = 0.0,
        *,
        penalty: Penalty = "squared",
        delta: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_penalty(penalty, delta)
        self.margin = check_between("margin", margin, 0.0, LARGEST_MARGIN)
        self.penalty: Penalty = penalty
        self.delta = delta
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_prediction: Tensor,
        teacher_prediction: Tensor,
        *,
        labels: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return bounded_regression(
            student_prediction,
            teacher_prediction,
            labels=labels,
            margin=self.margin,
            penalty=self.penalty,
            delta=self.delta,
            mask=mask,
            reduction=self.reduction,
        )
