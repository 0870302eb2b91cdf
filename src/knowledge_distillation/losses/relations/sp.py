"""Similarity-preserving distillation: samples alike to the teacher must be alike to the student."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import counted_samples, number, sample_vectors
from knowledge_distillation.losses.vectors import dot_products, unit


def sp(
    student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Squared difference of the two models' similarity matrices over the batch.

    With F the features, one flattened row a sample, and G = F F^T with every row divided by its length:
    for sample i the mean over j of (G_t[i, j] - G_s[i, j])**2. The mean over i is |G_t - G_s|**2 / batch**2.

    When: the feature maps have different shapes, so that they cannot be compared directly; any layer pair.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient.
        teacher_features: shape [batch, ...]; the other axes may differ. Detached inside.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts. The CRD benchmark weighs it
        with 3000.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> student = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(sp(student, teacher).item(), 4)
        0.1992

    Reference: Tung, Mori (2019), arXiv:1907.09682.
    """
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    gaps = (unit(dot_products(student, student)) - unit(dot_products(teacher, teacher))).square()
    # a masked row and column of both matrices is 0, and so is its gap
    values = gaps.sum(dim=1) / number(counted_samples(student, mask))
    return reduce(values, mask=mask, reduction=reduction)


class SP(Loss):
    """`sp` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("relations",),
        signal="features",
        paper=Paper(
            title="Similarity-Preserving Knowledge Distillation",
            authors="Tung, Mori",
            year=2019,
            arxiv="1907.09682",
            venue="ICCV",
        ),
        exceptions={"micro_batches": "relations reach across the batch: parts of it do not see each other"},
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return sp(student_features, teacher_features, mask=mask, reduction=self.reduction)
