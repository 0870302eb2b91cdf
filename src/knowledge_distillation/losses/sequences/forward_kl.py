"""Forward Kullback-Leibler divergence, KL(teacher || student)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    check_same_shape,
    hide_masked,
    log_probabilities,
    softened,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Forward KL divergence, KL(teacher || student): the student must cover all the teacher's mass.

    sum over classes of p_t * (log p_t - log p_s), with p = softmax(logits / temperature).

    When: the default for language models and any place where missing a mode of the teacher is worse
    than spreading too wide.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless. No factor of the squared temperature
            is applied here: `kd` does that.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(forward_kl(student, teacher).item(), 3)
        0.099

    Reference: Kullback, Leibler (1951); as a distillation loss Hinton, Vinyals, Dean (2015),
        arXiv:1503.02531.

    Differs: some language-model code (DistiLLM, MiniLLM, torchtune) calls the cross-entropy
        -sum p_t * log p_s by this name. It has the same gradient but is not 0 at equality;
        here it is `soft_cross_entropy`.
    """
    return reduced_forward_kl(
        student_logits, teacher_logits, temperature=temperature, scale=1.0, mask=mask, reduction=reduction
    )


def reduced_forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    scale: float,
    mask: Tensor | None,
    reduction: Reduction,
) -> Tensor:
    """`scale` times the reduced forward KL; the arguments are those of `forward_kl`."""
    check_same_shape(student_logits, teacher_logits, "logits")
    check_positive("temperature", temperature)
    student = log_probabilities(hide_masked(student_logits, mask), temperature)
    with torch.no_grad():
        teacher = torch.softmax(softened(hide_masked(teacher_logits, mask), temperature), dim=-1)
        # p_s - p_t adds up to 0 but for rounding, which it takes out of the sum where both sides nearly agree
        rounding = student.exp().sub_(teacher)
    summands = F.kl_div(student, teacher, reduction="none").add_(rounding)
    items = math.prod(summands.shape[:-1])
    if mask is None and reduction == "mean" and items:
        return summands.sum() * (scale / items)
    return reduce(summands.sum(dim=-1), mask=mask, reduction=reduction) * scale


class ForwardKL(Loss):
    """`forward_kl` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="On Information and Sufficiency",
            authors="Kullback, Leibler",
            year=1951,
            venue="Annals of Mathematical Statistics",
        ),
        same_classes=True,
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return forward_kl(
            student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
