"""Generalised Jensen-Shannon divergence of on-policy distillation (GKD)."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.kernels.log_ratios import log_ratios_to_mixture
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def generalized_jsd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Generalised Jensen-Shannon divergence: both sides against their mixture, from forward to reverse KL.

    beta * KL(p_t || m) + (1 - beta) * KL(p_s || m) with m = beta * p_t + (1 - beta) * p_s and
    p = softmax(logits / temperature). beta = 0 stands for KL(p_t || p_s), beta = 1 for KL(p_s || p_t):
    the limits after division by beta and by 1 - beta.

    When: on-policy distillation, where neither side's rare tokens may dominate: for 0 < beta < 1 the value
    never exceeds log 2.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        beta: share of the teacher in the mixture, 0 to 1.
        temperature: softening, > 0, dimensionless; 1 in the paper. No factor of its square is applied.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats, never negative for 0 < beta < 1: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if beta is outside 0 to 1, temperature is not a positive finite number, or reduction is
            unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(generalized_jsd(student, teacher, beta=0.5).item(), 4)
        0.026

    Reference: Agarwal et al. (2023), On-Policy Distillation of Language Models, arXiv:2306.13649.

    Differs: DistillKit multiplies by the squared temperature; here nothing is multiplied.
    """
    check_between("beta", beta, 0.0, 1.0)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    return reduce(jsd_terms(student, teacher, beta).sum(dim=-1), mask=mask, reduction=reduction)


def jsd_terms(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """What each class adds to the generalised divergence; for 0 < beta < 1 no term is negative.

    Args:
        student: log-probabilities, shape [*batch, classes]. Receives gradient.
        teacher: same shape, detached already.
        beta: share of the teacher, 0 to 1.

    Returns:
        Nats, shape [*batch, classes].
    """
    if beta == 0.0:
        return teacher.exp() * (teacher - student)
    if beta == 1.0:
        return student.exp() * (student - teacher)
    to_student, to_teacher = log_ratios_to_mixture(student, teacher, beta)
    terms = -(beta * teacher.exp() * to_teacher + (1.0 - beta) * student.exp() * to_student)
    # A term is convex in p_s / p_t with its minimum, 0, at p_s = p_t: what lies below is rounding.
    return terms.clamp(min=0.0)


class GeneralizedJSD(Loss):
    """`generalized_jsd` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes",
            authors="Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem",
            year=2023,
            arxiv="2306.13649",
            venue="ICLR 2024",
        ),
        same_classes=True,
    )

    def __init__(self, beta: float = 0.5, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.beta = check_between("beta", beta, 0.0, 1.0)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return generalized_jsd(
            student_logits,
            teacher_logits,
            beta=self.beta,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
