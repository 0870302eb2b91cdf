"""The smoothed label as a teacher: what a distillation gain must be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, hide_masked, log_probabilities
from knowledge_distillation.losses.logits.targets import check_targets
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def label_smoothing_teacher(
    student_logits: Tensor,
    teacher_logits: Tensor | None = None,
    *,
    labels: Tensor,
    label_smoothing: float = 0.1,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL between the smoothed label, taken as the teacher's distribution, and the softened student.

    KL(q || p), with q = (1 - label_smoothing) * onehot(label) + label_smoothing / classes and
    p = softmax(student_logits / temperature).

    When: as the control for a soft-label gain: a teacher that knows nothing but the label. At temperature 1 it
    is `cross_entropy` with the same smoothing, less a constant, so that a perfect match reads 0.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes], at least 2 classes. Receives gradient.
        teacher_logits: ignored; accepted so that every loss is called the same way.
        labels: class ids from 0 to classes - 1, shape [*batch].
        label_smoothing: share of the uniform distribution, 0 to 1; 0.1 is usual.
        temperature: softening of the student alone, > 0, dimensionless; the smoothed label is soft already.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". Classes at -inf are not counted among the classes. 0 when no
        item counts.

    Raises:
        ShapeError: if labels or mask do not fit, or there is only one class.
        ConfigError: if labels are missing, a setting is out of its range, or reduction is unknown.

    Example:
        >>> import torch
        >>> round(label_smoothing_teacher(torch.tensor([[4.0, 0.0, 0.0]]), labels=torch.tensor([0])).item(), 4)
        0.0115

    Reference: Müller, Kornblith, Hinton (2019), arXiv:1906.02629; as a virtual teacher Yuan, Tay,
        Li, Wang, Feng (2020), arXiv:1909.11723.
    """
    check_positive("temperature", temperature)
    check_between("label_smoothing", label_smoothing, 0.0, 1.0)
    labels, mask = check_targets(labels, student_logits, mask)
    logits = hide_masked(student_logits, mask)
    student = log_probabilities(logits, temperature)
    impossible = torch.isneginf(logits)
    classes = (logits.shape[-1] - impossible.sum(dim=-1, keepdim=True)).clamp(min=1)
    smooth = (label_smoothing / classes.to(student.dtype)).expand_as(student).masked_fill(impossible, 0.0)
    label = labels.unsqueeze(-1)
    teacher = smooth.scatter(-1, label, smooth.gather(-1, label) + (1.0 - label_smoothing))
    values = (torch.xlogy(teacher, teacher) - teacher * student).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class LabelSmoothingTeacher(Loss):
    """`label_smoothing_teacher` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="When Does Label Smoothing Help?", authors="Müller, Kornblith, Hinton", year=2019, arxiv="1906.02629"
        ),
        needs=("labels",),
        uses_teacher=False,
        exceptions={"zero_at_equality": "the smoothed label is compared with, not the teacher"},
    )

    def __init__(
        self, label_smoothing: float = 0.1, *, temperature: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.label_smoothing = check_between("label_smoothing", label_smoothing, 0.0, 1.0)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        labels: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return label_smoothing_teacher(
            student_logits,
            labels=labels,
            label_smoothing=self.label_smoothing,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
