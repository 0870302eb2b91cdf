"""Total variation distance between the two distributions."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def tvd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Total variation distance: the probability mass that would have to move to make both sides equal.

    0.5 * sum over classes of |p_t - p_s|, with p = softmax(logits / temperature).

    When: single outliers of the teacher must not dominate: the value never exceeds 1, however
    unlikely a token is, and neither side is favoured.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient, 0 where p_s = p_t.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Dimensionless, from 0 to 1: a scalar, or [*batch] for "none". 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 0.0]])
        >>> student = torch.tensor([[1.0, 0.0, 0.0]])
        >>> round(tvd(student, teacher).item(), 4)
        0.2109

    Reference: Wen, Li, Du, Mou (2023), f-Divergence Minimization for Sequence-Level Knowledge Distillation,
        arXiv:2307.15190.

    Differs: DistillKit multiplies by the squared temperature, which fits divergences that shrink with the
        square; this distance shrinks with the temperature itself, and nothing is multiplied here.
    """
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    values = 0.5 * (teacher.exp() - student.exp()).abs().sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


class TVD(Loss):
    """`tvd` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits",
        paper=Paper(
            title="f-Divergence Minimization for Sequence-Level Knowledge Distillation",
            authors="Wen, Li, Du, Mou",
            year=2023,
            arxiv="2307.15190",
            venue="ACL 2023",
        ),
        same_classes=True,
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return tvd(student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction)
