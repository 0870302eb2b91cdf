"""Weighted soft labels: each sample's soft-label loss weighed by who knows its label better."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, paired_log_probabilities
from knowledge_distillation.losses.logits.soft_cross_entropy import soft_cross_entropy
from knowledge_distillation.losses.logits.targets import check_targets, target_log_odds
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

# Of the authors' code: keeps the ratio finite for a teacher that is certain of the label.
LEAST_TEACHER_LOSS = 1e-7


def wsld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor,
    temperature: float = 2.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Weighted soft labels: the teacher counts less where the student already knows the label better.

    temperature**2 * w * -(sum over classes of p_t * log p_s), with p = softmax(logits / temperature) and
    w = 1 - exp(-CE(student, label) / CE(teacher, label)), both at temperature 1 and held constant.

    When: labelled data and a teacher that is wrong or unsure on part of it: there its soft labels act as a
    regulariser and raise the bias. The authors' code adds the usual cross-entropy and weighs this by 2.5.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes], at least 2 classes. Receives gradient.
        teacher_logits: same shape. Detached inside.
        labels: class ids from 0 to classes - 1, shape [*batch].
        temperature: softening, > 0, dimensionless; 2 in the authors' code.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". Not 0 at agreement, as the soft-label
        term is a cross-entropy. 0 when no item counts.

    Raises:
        ShapeError: if shapes, labels or mask do not fit, or there is only one class.
        ConfigError: if labels are missing, temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 1.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(wsld(student, teacher, labels=torch.tensor([0])).item(), 4)
        3.088

    Reference: Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang (2021), arXiv:2102.00650.
    """
    labels, mask = check_targets(labels, student_logits, mask)
    student, teacher = paired_log_probabilities(student_logits.detach(), teacher_logits, mask=mask)
    student_loss = -logsigmoid(target_log_odds(student, labels))
    teacher_loss = -logsigmoid(target_log_odds(teacher, labels))
    weight = -torch.expm1(-student_loss / (teacher_loss + LEAST_TEACHER_LOSS))
    values = soft_cross_entropy(
        student_logits,
        teacher_logits,
        temperature=temperature,
        scale_by_temperature_squared=True,
        mask=mask,
        reduction="none",
    )
    return reduce(weight * values, mask=mask, reduction=reduction)


class WSLD(Loss):
    """`wsld` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective",
            authors="Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang",
            year=2021,
            arxiv="2102.00650",
            venue="ICLR",
        ),
        needs=("labels",),
        same_classes=True,
        exceptions={
            "zero_at_equality": "the soft-label term is a cross-entropy and keeps the teacher's entropy",
            "gradcheck": "the weight depends on the student but is held constant in the gradient",
        },
    )

    def __init__(self, temperature: float = 2.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, *, labels: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        return wsld(
            student_logits,
            teacher_logits,
            labels=labels,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
