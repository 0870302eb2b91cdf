"""Normalised knowledge distillation: the target's probability, and the other classes renormalised."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_weight, paired_log_probabilities
from knowledge_distillation.losses.logits.targets import check_targets, of_target, without_target
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor,
    temperature: float = 1.0,
    nontarget_weight: float = 1.5,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Normalised KD: a soft target-class term, and a cross-entropy over the other classes renormalised to sum 1.

    -p_t[target] * log p_s[target] - nontarget_weight * temperature**2 * sum over c != target of q_t * log q_s,
    with p = softmax(logits) without temperature and q = softmax(logits / temperature) over the classes
    without the target.

    When: labelled image classification, as an alternative to `dkd`: the target term adds to the usual
    cross-entropy with the labels, which stays beside it.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes], at least 2 classes. Receives gradient.
        teacher_logits: same shape. Detached inside.
        labels: class ids from 0 to classes - 1, shape [*batch].
        temperature: softening of the other classes, > 0, dimensionless; 1 in the authors' code.
        nontarget_weight: >= 0; gamma in the authors' code, 1.5 there.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". Not 0 at agreement: both terms are cross-entropies. 0 when no
        item counts.

    Raises:
        ShapeError: if shapes, labels or mask do not fit, or there is only one class.
        ConfigError: if labels are missing, temperature is not a positive finite number, a weight is negative or not
            finite, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 1.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(nkd(student, teacher, labels=torch.tensor([0])).item(), 4)
        1.4066

    Reference: Yang, Zeng, Li, Zhang, Yuan, Li (2023), arXiv:2303.13005.
    """
    check_weight("nontarget_weight", nontarget_weight)
    labels, mask = check_targets(labels, student_logits, mask)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, mask=mask)
    target = -of_target(teacher, labels).exp() * of_target(student, labels)
    student_others, teacher_others = paired_log_probabilities(
        without_target(student_logits, labels),
        without_target(teacher_logits, labels),
        temperature=temperature,
        mask=mask,
    )
    others = -(teacher_others.exp() * student_others).sum(dim=-1)
    return reduce(target + nontarget_weight * temperature**2 * others, mask=mask, reduction=reduction)


class NKD(Loss):
    """`nkd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized "
            "Loss and Customized Soft Labels",
            authors="Yang, Zeng, Li, Zhang, Yuan, Li",
            year=2023,
            arxiv="2303.13005",
            venue="ICCV",
        ),
        needs=("labels",),
        same_classes=True,
        exceptions={"zero_at_equality": "both terms are cross-entropies and keep the teacher's entropy"},
    )

    def __init__(
        self, temperature: float = 1.0, *, nontarget_weight: float = 1.5, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.nontarget_weight = check_weight("nontarget_weight", nontarget_weight)
        self.reduction: Reduction = reduction

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, *, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        return nkd(
            student_logits,
            teacher_logits,
            labels=labels,
            temperature=self.temperature,
            nontarget_weight=self.nontarget_weight,
            mask=mask,
            reduction=self.reduction,
        )
