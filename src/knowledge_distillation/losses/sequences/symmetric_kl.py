"""Weighted sum of the forward and the reverse Kullback-Leibler divergence."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def symmetric_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    forward_weight: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Symmetric KL divergence: forward_weight * KL(teacher || student) plus the rest of KL(student || teacher).

    sum over classes of (w * p_t - (1 - w) * p_s) * (log p_t - log p_s), with w = forward_weight and
    p = softmax(logits / temperature).

    When: the forward divergence spreads too wide and the reverse one drops too much; the weight sets how
    much of each.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside. A class at -inf that the student can still say costs
            about 1e30: mask such classes on both sides.
        forward_weight: share of the forward divergence, 0 to 1; 0.5 is half of Jeffreys' divergence.
        temperature: softening, > 0, dimensionless; language models mostly take 1.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if forward_weight is outside 0 to 1, temperature is not a positive finite number, or
            reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(symmetric_kl(student, teacher).item(), 4)
        0.1054

    Reference: Jeffreys (1946), An Invariant Form for the Prior Probability in Estimation Problems; as a
        distillation loss Ko et al. (2024), DistiLLM, arXiv:2402.03898, in whose code the reverse part weighs 0.9.

    Differs: DistiLLM's code and torchtune put a cross-entropy in the place of the forward divergence, so
        theirs is larger by forward_weight times the teacher's entropy; the gradient is the same.
    """
    check_between("forward_weight", forward_weight, 0.0, 1.0)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    weights = forward_weight * teacher.exp() - (1.0 - forward_weight) * student.exp()
    values = (weights * (teacher - student)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class SymmetricKL(Loss):
    """`symmetric_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="An Invariant Form for the Prior Probability in Estimation Problems",
            authors="Jeffreys",
            year=1946,
            venue="Proceedings of the Royal Society of London A",
        ),
        same_classes=True,
    )

    def __init__(self, forward_weight: float = 0.5, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.forward_weight = check_between("forward_weight", forward_weight, 0.0, 1.0)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return symmetric_kl(
            student_logits,
            teacher_logits,
            forward_weight=self.forward_weight,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
