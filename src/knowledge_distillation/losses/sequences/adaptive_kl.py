"""Adaptive Kullback-Leibler divergence (AKL): forward KL for the head, reverse KL for the tail."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def adaptive_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    head_mass: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive KL divergence: each token weighs forward and reverse KL by where it is wrong, head or tail.

    w * KL(p_t || p_s) + (1 - w) * KL(p_s || p_t), with w the head's share of sum |p_t - p_s|. The head is
    the teacher's most likely classes up to a mass of head_mass, and always its first. w is a constant in
    the gradient.

    When: short training runs of language models, where forward KL fits the head first and reverse KL
    the tail, and both are wanted.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside. A class at -inf that the student can still say costs
            about 1e30: mask such classes on both sides.
        head_mass: the teacher's mass that counts as head, 0 to 1; 0.5 in the authors' code.
        temperature: softening, > 0, dimensionless; the authors' code has none.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if head_mass is outside 0 to 1, temperature is not a positive finite number, or
            reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(adaptive_kl(student, teacher).item(), 4)
        0.1054

    Reference: Wu, Tao, Wang, Yang, Zhao, Wong (2024), Rethinking Kullback-Leibler Divergence in Knowledge
        Distillation for Large Language Models, arXiv:2404.02657.

    Differs: the authors' code gives NaN where both sides agree exactly, which is 0 here.
    """
    check_between("head_mass", head_mass, 0.0, 1.0)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    weight = head_share(student.detach().exp(), teacher.exp(), head_mass)
    teacher_mass, student_mass = weight * teacher.exp(), (1.0 - weight) * student.exp()
    values = ((teacher_mass - student_mass) * (teacher - student)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


def head_share(student: Tensor, teacher: Tensor, head_mass: float) -> Tensor:
    """The share of the total error |p_t - p_s| that lies in the teacher's head.

    Args:
        student: probabilities, shape [*batch, classes]. No gradient.
        teacher: same shape. No gradient.
        head_mass: the teacher's mass that counts as head, 0 to 1.

    Returns:
        Dimensionless, from 0 to 1, shape [*batch, 1]; 0.5 where there is no error at all.
    """
    ordered, order = teacher.sort(dim=-1, descending=True)
    errors = (ordered - student.gather(-1, order)).abs()
    in_head = ordered.cumsum(dim=-1) <= head_mass
    in_head[..., 0] = True
    total = errors.sum(dim=-1, keepdim=True)
    head = errors.masked_fill(~in_head, 0.0).sum(dim=-1, keepdim=True)
    return torch.where(total > 0, head / total.clamp(min=torch.finfo(total.dtype).tiny), 0.5)


class AdaptiveKL(Loss):
    """`adaptive_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="Rethinking Kullback-Leibler Divergence in Knowledge Distillation for Large Language Models",
            authors="Wu, Tao, Wang, Yang, Zhao, Wong",
            year=2024,
            arxiv="2404.02657",
            venue="COLING 2025",
        ),
        same_classes=True,
        exceptions={"gradcheck": "the paper keeps the weights of the two divergences out of the gradient"},
    )

    def __init__(self, head_mass: float = 0.5, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.head_mass = check_between("head_mass", head_mass, 0.0, 1.0)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return adaptive_kl(
            student_logits,
            teacher_logits,
            head_mass=self.head_mass,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
