"""Neuron selectivity transfer: the channels' patterns as samples of one distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.maps import (
    Maps,
    add_stages,
    one_size,
    paired_stages,
    unit,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import no_autocast

Kernel = Literal["polynomial", "linear", "gaussian"]
SMALLEST_SPREAD = 1e-12


def nst(
    student_features: Maps,
    teacher_features: Maps,
    *,
    kernel: Kernel = "polynomial",
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Neuron selectivity transfer: squared maximum mean discrepancy between the channels' spatial patterns.

    mean k(t, t') + mean k(s, s') - 2 mean k(s, t), over all pairs of channels, each channel flattened over the
    pixels and scaled to length 1. Kernels: polynomial (x.y)**2, linear x.y, gaussian
    exp(-|x - y|**2 / (2 sigma**2)) with sigma**2 the mean squared distance of the pairs (s, t). Stages are
    added; one value per sample.

    When: unlike widths, and it matters what the channels respond to, not which channel does.

    Args:
        student_features: [batch, channels, height, width] for each stage. Receives gradient.
        teacher_features: as many stages; channels may differ, and the larger map is average-pooled to the size
            of the smaller. Detached inside.
        kernel: "polynomial" (degree 2, no constant; the authors' code), "linear" or "gaussian".
        stage_weights: one weight for each stage; None weighs all 1.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if stages, batches or the mask do not fit.
        ConfigError: if kernel, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> student = torch.tensor([[[[2.0, 0.0]]]])
        >>> round(nst(student, teacher).item(), 4)
        0.5

    Reference: Huang, Wang (2017), arXiv:1707.01219.

    Differs: the paper's factor of lambda / 2 is the term's weight.
    """
    if kernel not in get_args(Kernel):
        raise ConfigError(f"kernel must be 'polynomial', 'linear' or 'gaussian', got {kernel!r}.")
    values = []
    for pair in paired_stages(student_features, teacher_features, mask):
        student, teacher = (unit(features.flatten(start_dim=2)) for features in one_size(*pair))
        with no_autocast(student):
            values.append(_discrepancy(student, teacher, kernel))
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


def _discrepancy(student: Tensor, teacher: Tensor, kernel: Kernel) -> Tensor:
    products = [one @ other.mT for one, other in ((student, student), (teacher, teacher), (student, teacher))]
    if kernel == "polynomial":
        products = [product.square() for product in products]
    elif kernel == "gaussian":
        own, other = student.square().sum(dim=-1), teacher.square().sum(dim=-1)
        lengths = ((own, own), (other, other), (own, other))
        gaps = [
            (rows[:, :, None] + columns[:, None, :] - 2 * product).clamp(min=0)
            for product, (rows, columns) in zip(products, lengths, strict=True)
        ]
        spread = 2 * gaps[2].mean(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_SPREAD)
        products = [torch.exp(-gap / spread) for gap in gaps]
    student_own, teacher_own, between = (product.mean(dim=(1, 2)) for product in products)
    return teacher_own + student_own - 2 * between


class NST(Loss):
    """`nst` as a module; see there for shapes, units and sources. It learns nothing."""

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
            authors="Huang, Wang",
            year=2017,
            arxiv="1707.01219",
        ),
    )

    def __init__(
        self,
        kernel: Kernel = "polynomial",
        *,
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.kernel: Kernel = kernel
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        return nst(
            student_features,
            teacher_features,
            kernel=self.kernel,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
