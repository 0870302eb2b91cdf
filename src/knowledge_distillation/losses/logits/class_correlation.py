"""Which classes are predicted together: class-level alignment of multi-level logit distillation."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.losses.logits.batch_correlation import MULTI_LEVEL
from knowledge_distillation.losses.logits.probabilities import paired_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def class_correlation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of the class-by-class co-occurrences that the predictions of the batch show.

    Sum over all pairs (c, d) of (M_t[c, d] - M_s[c, d])**2 / classes, with M[c, d] = sum over items of
    p[c] * p[d] and p = softmax(logits / temperature).

    When: as the class-level part of `mlkd`. Takes memory for classes**2 numbers: not for vocabularies.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0, dimensionless; the authors use 2 to 6. No factor of the squared temperature.
        mask: shape [*batch], True where the item counts; a masked item leaves every sum.
        reduction: "mean" over counted items (the paper's loss), "sum" (that times the items), or "none" for one
            value per item, shape [*batch]: the item's share, which may be below 0.

    Returns:
        Dimensionless: a scalar, or [*batch] for "none". It grows with the square of the batch, as M is a sum
        over the items. 0 when no item counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the items.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> student = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
        >>> round(class_correlation(student, teacher, temperature=1.0).item(), 4)
        0.9995

    Reference: Jin, Wang, Lin (2023), class-level alignment, CVPR.
    """
    student, teacher = paired_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    gap, total = teacher - student, teacher + student
    product = gap.T @ total
    difference = (product + product.T) / 2
    items = gap.shape[0] if mask is None else mask.bool().sum()
    # gap[i]' difference total[i] is item i's term of the squared Frobenius norm of `difference`.
    shares = ((gap @ difference) * total).sum(dim=-1) * items / gap.shape[-1]
    return reduce(shares.view(student_logits.shape[:-1]), mask=mask, reduction=reduction)


class ClassCorrelation(Loss):
    """`class_correlation` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits", "relations"),
        signal="logits",
        paper=MULTI_LEVEL,
        same_classes=True,
        exceptions={"micro_batches": "the class sums span the whole batch"},
    )

    def __init__(self, temperature: float = 4.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return class_correlation(
            student_logits, teacher_logits, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
