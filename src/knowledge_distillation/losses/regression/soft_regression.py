"""Regression on the teacher's predictions."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
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


def soft_regression(
    student_prediction: Tensor,
    teacher_prediction: Tensor,
    *,
    penalty: Penalty = "squared",
    delta: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Regression against the teacher's predictions as soft targets, squared or Huber.

    mean over outputs of (s - t)**2, or of Huber's penalty of s - t: half the square up to `delta`, linear beyond.

    When: any regression task, beside or instead of the loss on the labels; the teacher's predictions carry
    less noise than they do. Huber when the teacher is wildly wrong now and then.

    Args:
        student_prediction: numbers in the target's units, shape [*items, outputs]. Receives gradient.
        teacher_prediction: same shape. Detached inside.
        penalty: "squared", or "huber".
        delta: where Huber's penalty turns linear, > 0, in the target's units; unused when squared.
        mask: shape [*items], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*items].

    Returns:
        Squared units of the target: a scalar, or [*items] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ or lack the output axis, or the mask does not match the items.
        ConfigError: if penalty or reduction is unknown, or delta is not a positive finite number.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0], [6.0]]), torch.tensor([[2.0], [2.0]])
        >>> soft_regression(student, teacher).item()
        8.5
        >>> soft_regression(student, teacher, penalty="huber").item()
        2.0

    Reference: Ba, Caruana (2014), arXiv:1312.6184, who regress on logits; Huber (1964).
    """
    check_penalty(penalty, delta)
    check_same_shape(student_prediction, teacher_prediction, "prediction")
    check_predictions(student_prediction)
    student = full_precision(hide_masked(student_prediction, mask))
    teacher = full_precision(hide_masked(teacher_prediction.detach(), mask))
    return reduce(penalised(student - teacher, penalty, delta).mean(dim=-1), mask=mask, reduction=reduction)


class SoftRegression(Loss):
    """`soft_regression` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("regression",),
        signal="predictions",
        paper=Paper(title="Do Deep Nets Really Need to be Deep?", authors="Ba, Caruana", year=2014, arxiv="1312.6184"),
    )

    def __init__(self, penalty: Penalty = "squared", *, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_penalty(penalty, delta)
        self.penalty: Penalty = penalty
        self.delta = delta
        self.reduction: Reduction = reduction

    def forward(self, student_prediction: Tensor, teacher_prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return soft_regression(
            student_prediction,
            teacher_prediction,
            penalty=self.penalty,
            delta=self.delta,
            mask=mask,
            reduction=self.reduction,
        )
