"""Probabilistic knowledge transfer: the same neighbours, with the same probabilities."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import (
    chosen,
    counted_samples,
    number,
    pairs,
    sample_vectors,
    without_self,
)
from knowledge_distillation.losses.vectors import dot_products

Variant = Literal["paper", "code"]
# the authors' guard against empty vectors and zero probabilities
SMALL = 1e-7


def pkt(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    variant: Variant = "paper",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL divergence of neighbour probabilities, KL(teacher || student), one value per sample.

    p(j | i) = K(i, j) / sum over k != i of K(i, k), with K = (1 + cosine of the two samples' vectors) / 2;
    for sample i the sum over j != i of p_t * (log p_t - log p_s).

    When: who is near whom matters more than where it lies: retrieval, metric learning, unequal widths.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient.
        teacher_features: shape [batch, ...]; the width may differ. Detached inside.
        variant: "paper" as above, or "code" for the authors' scale: i itself is among the j, and the value
            is divided by the number of samples.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Nats: a scalar, or [batch] for "none". 0 for a single sample or none.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if variant or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> round(pkt(student, teacher).item(), 4)
        0.0321

    Reference: Passalis, Tefas (2018), arXiv:1803.10837.

    Differs: the paper adds up all samples; here they are averaged. 1e-7 is added to lengths and kernel values,
        so that nothing divides by 0. RepDistiller's weight, 30000 with a batch of 64, belongs to variant="code".
    """
    paper = check_variant(variant) == "paper"
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    counted = counted_samples(student, mask)
    allowed = without_self(pairs(counted)) if paper else pairs(counted)
    inside, outside = (SMALL, 0.0) if paper else (0.0, SMALL)
    mass = neighbours(teacher, allowed, inside)
    log_teacher = (mass + outside).masked_fill(~allowed, 1.0).log()
    log_student = (neighbours(student, allowed, inside) + outside).masked_fill(~allowed, 1.0).log()
    values = (mass * (log_teacher - log_student)).sum(dim=1)
    return reduce(values if paper else values / number(counted), mask=mask, reduction=reduction)


def neighbours(rows: Tensor, allowed: Tensor, inside: float) -> Tensor:
    """Probability of each row to be the neighbour, [batch, batch]; a row without any neighbour stays 0."""
    squares = rows.square().sum(dim=1, keepdim=True)
    zero = squares == 0
    directions = (rows / (squares.masked_fill(zero, 1.0).sqrt() + SMALL)).masked_fill(zero, 0.0)
    kernel = chosen((dot_products(directions, directions) + 1.0) / 2.0 + inside, allowed)
    totals = kernel.sum(dim=1, keepdim=True)
    return kernel / torch.where(totals > 0, totals, torch.ones_like(totals))


def check_variant(variant: Variant) -> Variant:
    """Return `variant` if it is known, else raise ConfigError."""
    if variant not in get_args(Variant):
        raise ConfigError(f"variant must be 'paper' or 'code', got {variant!r}.")
    return variant


class PKT(Loss):
    """`pkt` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("relations", "embeddings"),
        signal="features",
        paper=Paper(
            title="Learning Deep Representations with Probabilistic Knowledge Transfer",
            authors="Passalis, Tefas",
            year=2018,
            arxiv="1803.10837",
            venue="ECCV",
        ),
        exceptions={"micro_batches": "relations reach across the batch: parts of it do not see each other"},
    )

    def __init__(self, variant: Variant = "paper", *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.variant: Variant = check_variant(variant)
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return pkt(student_features, teacher_features, variant=self.variant, mask=mask, reduction=self.reduction)
