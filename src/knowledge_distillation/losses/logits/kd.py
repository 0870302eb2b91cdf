"""Hinton's knowledge distillation: softened forward KL times the squared temperature."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.forward_kl import reduced_forward_kl

HINTON = Paper(
    title="Distilling the Knowledge in a Neural Network",
    authors="Hinton, Vinyals, Dean",
    year=2015,
    arxiv="1503.02531",
)


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hinton's distillation loss: temperature**2 * KL(teacher || student) of the softened outputs.

    temperature**2 * sum over classes of p_t * (log p_t - log p_s), with p = softmax(logits / temperature).
    The squared temperature keeps the gradient's size when the temperature changes, so that a weight
    tuned at one temperature holds at another.

    When: the first thing to try whenever teacher and student share their classes.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; image work mostly uses 4.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(kd(student, teacher, temperature=2.0).item(), 4)
        0.124

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531.

    Differs: the paper writes a cross-entropy with soft targets; the teacher's entropy is subtracted here,
        which leaves the gradient as it is and makes the loss 0 when student and teacher agree.
    """
    check_positive("temperature", temperature)
    return reduced_forward_kl(
        student_logits, teacher_logits, temperature=temperature, scale=temperature**2, mask=mask, reduction=reduction
    )


class KD(Loss):
    """`kd` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("logits",), signal="logits", paper=HINTON, same_classes=True)

    def __init__(self, temperature: float = 4.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return kd(student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction)


def kd_from_log_probs(
    student_log_probs: Tensor,
    teacher_log_probs: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`kd` for models that already softened and normalised their outputs, as the original toolkit's do.

    temperature**2 * sum over classes of p_t * (log p_t - log p_s), with log p given. Nothing is
    normalised here: the caller's log-probabilities are taken as they come.

    When: a model only returns log-probabilities, made at `temperature`.

    Args:
        student_log_probs: log-probabilities at `temperature`, shape [*batch, classes]. Receives gradient.
        teacher_log_probs: same shape, -inf where the probability is 0. Detached inside.
        temperature: the temperature that both sides were softened with, > 0.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.5, 0.5, 0.0]]).log()
        >>> student = torch.tensor([[0.5, 0.25, 0.25]]).log()
        >>> round(kd_from_log_probs(student, teacher).item(), 4)
        0.3466

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531.
    """
    check_same_shape(student_log_probs, teacher_log_probs, "log_probs")
    check_positive("temperature", temperature)
    student = full_precision(hide_masked(student_log_probs, mask))
    teacher = full_precision(hide_masked(teacher_log_probs.detach(), mask))
    mass = teacher.exp()
    gap = (teacher - student).masked_fill(mass == 0, 0.0)
    return reduce((mass * gap).sum(dim=-1) * temperature**2, mask=mask, reduction=reduction)


class KDFromLogProbs(Loss):
    """`kd_from_log_probs` as a module; see there for shapes, units and sources."""

    facts = Facts(families=("logits",), signal="log_probs", paper=HINTON, same_classes=True)

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_log_probs: Tensor, teacher_log_probs: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return kd_from_log_probs(
            student_log_probs, teacher_log_probs, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
