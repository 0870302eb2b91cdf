"""Spherical knowledge distillation: logits of both sides on a sphere of one radius."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.losses.divergence import kl_of_log_probs
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, hide_masked, paired_log_probabilities
from knowledge_distillation.losses.logits.logit_standardization import centre_and_spread, standardize
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def spherical(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    radius: float | None = 2.0,
    eps: float = 1e-7,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Spherical KD: `kd` after both sides' logits are centred and brought to the same length.

    temperature**2 * KL(teacher || student) of softmax(radius * z / temperature), with
    z = (logits - mean) / (standard deviation + eps) over the classes of each item.

    When: an oversized teacher, whose confidence the student cannot reach. The authors also take the
    cross-entropy with the labels on `radius * standardize(student_logits)`.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient, but none where all
            logits of an item are equal: an all-zero head learns nothing from this loss alone.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; the authors use 4 and find it matters little.
        radius: standard deviation that the logits of an item get, > 0, in units of logits; 2 to 3 in the
            authors' code, about the teacher's own. None takes that of each item's teacher logits.
        eps: added to the standard deviation, > 0, in units of logits.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats times temperature squared: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature, radius or eps is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.5]])
        >>> round(spherical(student, teacher).item(), 4)
        0.3714

    Reference: Guo, Chen, Hu, Zhu, He, Cai (2020), arXiv:2010.07485.

    Differs: the paper speaks of the length of the centred logits; as in the authors' code the unit here is their
        standard deviation, which is that length over the root of the number of classes.
    """
    check_same_shape(student_logits, teacher_logits, "logits")
    student, teacher = hide_masked(student_logits, mask), hide_masked(teacher_logits.detach(), mask)
    scale: float | Tensor
    if radius is None:
        scale = centre_and_spread(teacher)[2].clamp(min=torch.finfo(torch.float32).tiny)
    else:
        scale = check_positive("radius", radius)
    student, teacher = paired_log_probabilities(
        scale * standardize(student, eps=eps), scale * standardize(teacher, eps=eps), temperature=temperature
    )
    return reduce(temperature**2 * kl_of_log_probs(teacher, student), mask=mask, reduction=reduction)


class Spherical(Loss):
    """`spherical` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=Paper(
            title="Reducing the Teacher-Student Gap via Spherical Knowledge Disitllation",
            authors="Guo, Chen, Hu, Zhu, He, Cai",
            year=2020,
            arxiv="2010.07485",
        ),
        same_classes=True,
    )

    def __init__(
        self,
        temperature: float = 4.0,
        *,
        radius: float | None = 2.0,
        eps: float = 1e-7,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.radius = None if radius is None else check_positive("radius", radius)
        self.eps = check_positive("eps", eps)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return spherical(
            student_logits,
            teacher_logits,
            temperature=self.temperature,
            radius=self.radius,
            eps=self.eps,
            mask=mask,
            reduction=self.reduction,
        )
