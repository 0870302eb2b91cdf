"""Regression on the labels: what the student would train on without a teacher."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.regression.penalty import (
    Penalty,
    check_penalty,
    check_predictions,
    penalised,
)


def label_regression(
    student_prediction: Tensor,
    teacher_prediction: Tensor | None = None,
    *,
    labels: Tensor,
    penalty: Penalty = "squared",
    delta: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Regression on the labels, squared or Huber; the teacher is not looked at.

    mean over outputs of (s - y)**2, or of Huber's penalty of s - y: half the square up to `delta`, linear beyond.

    When: as the supervised term beside any regression on the teacher, and alone as the control.

    Args:
        student_prediction: numbers in the target's units, shape [*items, outputs]. Receives gradient.
        teacher_prediction: ignored; accepted so that every loss is called the same way.
        labels: the true values, same shape. An item with a NaN among them does not count (unlabelled samples).
        penalty: "squared", or "huber".
        delta: where Huber's penalty turns linear, > 0, in the target's units; unused when squared.
        mask: shape [*items], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*items].

    Returns:
        Squared units of the target: a scalar, or [*items] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ or lack the output axis, or the mask does not match the items.
        ConfigError: if labels are missing, penalty or reduction is unknown, or delta is not a positive finite
            number.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[2.0], [float("nan")]])
        >>> label_regression(torch.tensor([[1.0], [6.0]]), labels=labels).item()
        1.0

    Reference: least squares; Huber (1964).
    """
    check_penalty(penalty, delta)
    if labels is None:
        raise ConfigError("labels are needed by this loss: the true values, shape [*items, outputs]. None came.")
    check_predictions(student_prediction)
    if labels.shape != student_prediction.shape:
        raise ShapeError(
            f"labels must have the predictions' shape {tuple(student_prediction.shape)}, got {tuple(labels.shape)}: "
            "every output needs its true value. Add the output axis with unsqueeze(-1) if it is missing."
        )
    labels = labels.detach()
    known = ~labels.isnan().any(dim=-1)
    counted = known if mask is None else known & mask.bool()
    student = full_precision(hide_masked(student_prediction, counted))
    truth = hide_masked(labels, counted).to(student.dtype)
    return reduce(penalised(student - truth, penalty, delta).mean(dim=-1), mask=counted, reduction=reduction)


class LabelRegression(Loss):
    """`label_regression` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("regression",),
        signal="predictions",
        needs=("labels",),
        uses_teacher=False,
        exceptions={"zero_at_equality": "the target is the label, not the teacher"},
    )

    def __init__(self, penalty: Penalty = "squared", *, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_penalty(penalty, delta)
        self.penalty: Penalty = penalty
        self.delta = delta
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_prediction: Tensor,
        teacher_prediction: Tensor | None = None,
        *,
        labels: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return label_regression(
            student_prediction,
            labels=labels,
            penalty=self.penalty,
            delta=self.delta,
            mask=mask,
            reduction=self.reduction,
        )
