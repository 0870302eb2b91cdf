"""Decoupled knowledge distillation: the target class and the other classes weighed apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from knowledge_distillation.losses.divergence import kl_of_log_probs
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_weight, paired_log_probabilities
from knowledge_distillation.losses.logits.targets import check_targets, target_log_odds, without_target
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    nontarget_weight: float = 8.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Decoupled KD: how sure of the target, and how the other classes compare, with a weight of their own each.

    temperature**2 * (target_weight * TCKD + nontarget_weight * NCKD). TCKD = KL of the two-way split (target,
    all others), NCKD = KL of softmax(logits / temperature) over the classes without the target; both
    KL(teacher || student). With target_weight 1 and nontarget_weight 1 - p_teacher[target] it is `kd`.

    When: labelled data and a confident teacher, whose near-zero mass on the other classes mutes what `kd`
    learns from them. The authors' code warms it up over the first 20 epochs on CIFAR-100.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes], at least 2 classes. Receives gradient.
        teacher_logits: same shape. Detached inside.
        labels: class ids from 0 to classes - 1, shape [*batch].
        temperature: softening, > 0, dimensionless; the authors use 4 on CIFAR-100, 1 on ImageNet.
        target_weight: >= 0; alpha of the paper, 1 in the authors' code.
        nontarget_weight: >= 0; beta of the paper, 0.5 to 8 in the authors' configurations; 8 for ResNet32x4 to
            ResNet8x4.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if shapes, labels or mask do not fit, or there is only one class.
        ConfigError: if labels are missing, temperature is not a positive finite number, a weight is negative or not
            finite, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 1.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(dkd(student, teacher, labels=torch.tensor([0]), temperature=1.0).item(), 4)
        0.9042

    Reference: Zhao, Cui, Song, Qiu, Liang (2022), arXiv:2203.08679.

    Differs: the squared temperature is in the authors' code, not in the paper's equations. The code takes the
        target out by subtracting 1000 from its softened logit, which fails for logits of that size; here the
        class is removed.
    """
    labels, mask = check_targets(labels, student_logits, mask)
    check_weight("target_weight", target_weight)
    check_weight("nontarget_weight", nontarget_weight)
    target, others = dkd_parts(student_logits, teacher_logits, labels=labels, temperature=temperature, mask=mask)
    values = temperature**2 * (target_weight * target + nontarget_weight * others)
    return reduce(values, mask=mask, reduction=reduction)


def dkd_parts(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor,
    temperature: float = 4.0,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of each item, unweighted and without the squared temperature.

    Args:
        student_logits: shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        labels: class ids, shape [*batch].
        temperature: softening, > 0.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.

    Returns:
        Nats: TCKD and NCKD, shape [*batch] each, 0 at masked items.
    """
    labels, mask = check_targets(labels, student_logits, mask)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    target = kl_of_log_probs(_two_way(teacher, labels), _two_way(student, labels))
    student_others, teacher_others = paired_log_probabilities(
        without_target(student_logits, labels),
        without_target(teacher_logits, labels),
        temperature=temperature,
        mask=mask,
    )
    return target, kl_of_log_probs(teacher_others, student_others)


def _two_way(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities of the target and of all others together: [*batch, classes] -> [*batch, 2]."""
    odds = target_log_odds(log_probs, labels)
    return torch.stack((logsigmoid(odds), logsigmoid(-odds)), dim=-1)


class DKD(Loss):
    """`dkd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="Decoupled Knowledge Distillation",
            authors="Zhao, Cui, Song, Qiu, Liang",
            year=2022,
            arxiv="2203.08679",
            venue="CVPR",
        ),
        needs=("labels",),
        same_classes=True,
    )

    def __init__(
        self,
        temperature: float = 4.0,
        *,
        target_weight: float = 1.0,
        nontarget_weight: float = 8.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.target_weight = check_weight("target_weight", target_weight)
        self.nontarget_weight = check_weight("nontarget_weight", nontarget_weight)
        self.reduction: Reduction = reduction

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, *, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        return dkd(
            student_logits,
            teacher_logits,
            labels=labels,
            temperature=self.temperature,
            target_weight=self.target_weight,
            nontarget_weight=self.nontarget_weight,
            mask=mask,
            reduction=self.reduction,
        )
