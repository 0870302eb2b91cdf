"""Skew Kullback-Leibler divergences of DistiLLM, forward and reverse."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.kernels.log_ratios import log_ratios_to_mixture
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.mixture import check_share

DISTILLM = Paper(
    title="DistiLLM: Towards Streamlined Distillation for Large Language Models",
    authors="Ko, Kim, Chen, Yun",
    year=2024,
    arxiv="2402.03898",
    venue="ICML 2024",
)


def skew_forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    skew: float = 0.1,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Skew forward KL divergence, KL(teacher || mixture): the teacher against a student helped by the teacher.

    sum over classes of p_t * (log p_t - log m), with m = skew * p_t + (1 - skew) * p_s and
    p = softmax(logits / temperature).

    When: forward KL whose gradient stays bounded: a token that the student finds impossible costs at most
    -log(skew).

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        skew: share of the teacher in the mixture, above 0 and below 1; 0.1 in the authors' code.
        temperature: softening, > 0, dimensionless; the authors' code has none.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if skew is not between 0 and 1, temperature is not a positive finite number, or reduction is
            unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(skew_forward_kl(student, teacher, skew=0.1).item(), 4)
        0.0815

    Reference: Ko, Kim, Chen, Yun (2024), DistiLLM, arXiv:2402.03898.

    Differs: the authors' code returns the cross-entropy -sum p_t * log m, larger by the teacher's entropy
        and not 0 at equality; the gradient is the same.
    """
    check_share("skew", skew)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    _, to_teacher = log_ratios_to_mixture(student, teacher, skew)
    return reduce(-(teacher.exp() * to_teacher).sum(dim=-1), mask=mask, reduction=reduction)


class SkewForwardKL(Loss):
    """`skew_forward_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(families=("sequences", "logits"), signal="logits", paper=DISTILLM, same_classes=True)

    def __init__(self, skew: float = 0.1, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.skew = check_share("skew", skew)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return skew_forward_kl(
            student_logits,
            teacher_logits,
            skew=self.skew,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )


def skew_reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    skew: float = 0.1,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Skew reverse KL divergence, KL(student || mixture): the student against a teacher helped by the student.

    sum over classes of p_s * (log p_s - log m), with m = (1 - skew) * p_t + skew * p_s and
    p = softmax(logits / temperature). Gradient flows through p_s in the mixture too.

    When: reverse KL that stays finite and calm where the teacher is sure that the student is wrong: a class
    costs at most -log(skew).

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        skew: share of the student in the mixture, above 0 and below 1; 0.1 in the authors' code.
        temperature: softening, > 0, dimensionless; the authors' code has none.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if skew is not between 0 and 1, temperature is not a positive finite number, or reduction is
            unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(skew_reverse_kl(student, teacher, skew=0.1).item(), 4)
        0.0876

    Reference: Ko, Kim, Chen, Yun (2024), DistiLLM, arXiv:2402.03898.
    """
    check_share("skew", skew)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    to_student, _ = log_ratios_to_mixture(student, teacher, 1.0 - skew)
    return reduce(-(student.exp() * to_student).sum(dim=-1), mask=mask, reduction=reduction)


class SkewReverseKL(Loss):
    """`skew_reverse_kl` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(families=("sequences", "logits"), signal="logits", paper=DISTILLM, same_classes=True)

    def __init__(self, skew: float = 0.1, *, temperature: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.skew = check_share("skew", skew)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return skew_reverse_kl(
            student_logits,
            teacher_logits,
            skew=self.skew,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
