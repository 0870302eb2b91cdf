"""Reverse Kullback-Leibler divergence, KL(student || teacher)."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Reverse KL divergence, KL(student || teacher): the student must stay where the teacher has mass.

    sum over classes of p_s * (log p_s - log p_t), with p = softmax(logits / temperature).

    When: a small student that cannot cover all of the teacher: it keeps the main modes and is not
    punished for the ones it drops. Mostly on text that the student wrote itself.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside. A class at -inf that the student can still say costs
            about 1e30: mask such classes on both sides.
        temperature: softening, > 0, dimensionless; language models mostly take 1.
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
        >>> round(reverse_kl(student, teacher).item(), 4)
        0.112

    Reference: Gu, Dong, Wei, Huang (2023), MiniLLM, arXiv:2306.08543.

    Differs: MiniLLM estimates the divergence of whole responses from samples, with a policy gradient. This
        is the exact divergence of one token's distribution, as DistiLLM and GKD with beta 1 have it.
    """
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    values = (student.exp() * (student - teacher)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class ReverseKL(Loss):
    """`reverse_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="MiniLLM: On-Policy Distillation of Large Language Models",
            authors="Gu, Dong, Wei, Huang",
            year=2023,
            arxiv="2306.08543",
            venue="ICLR 2024",
        ),
        same_classes=True,
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return reverse_kl(
            student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
