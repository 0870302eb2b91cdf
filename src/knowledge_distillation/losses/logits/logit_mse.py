"""Mean squared difference of the raw logits."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def logit_mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the logits: what `kd` tends to at a high temperature, up to the mean logit.

    Mean over classes of ((student_logits - teacher_logits) / temperature)**2.

    When: the student shall also copy how confident the teacher is; for regression-like outputs; when a
    temperature is not to be tuned.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: divides the difference, > 0, in units of logits; 1 leaves the logits as they are.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Squared logits over temperature squared: a scalar, or [*batch] for "none". A class that is at -inf on
        either side adds no difference. 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> logit_mse(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]])).item()
        2.5

    Reference: Ba, Caruana (2014), arXiv:1312.6184; Kim, Oh, Kim, Cho, Yun (2021), arXiv:2105.08919.

    Differs: Ba and Caruana sum over the classes and halve; here it is the mean over the classes, so that a
        weight holds for any number of them.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    check_positive("temperature", temperature)
    student = full_precision(hide_masked(student_logits, mask))
    teacher = full_precision(hide_masked(teacher_logits.detach(), mask))
    impossible = torch.isneginf(student) | torch.isneginf(teacher)
    gap = student.masked_fill(impossible, 0.0) - teacher.masked_fill(impossible, 0.0)
    return reduce((gap / temperature).square().mean(dim=-1), mask=mask, reduction=reduction)


class LogitMSE(Loss):
    """`logit_mse` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "regression"),
        signal="logits",
        paper=Paper(title="Do Deep Nets Really Need to be Deep?", authors="Ba, Caruana", year=2014, arxiv="1312.6184"),
        same_classes=True,
        exceptions={"shift_invariant": "the logits themselves are compared, their mean included"},
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return logit_mse(
            student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
