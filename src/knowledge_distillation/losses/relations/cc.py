"""Correlation congruence: the same kernel matrix over the batch on both sides."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import chosen, counted_samples, number, pairs, sample_vectors
from knowledge_distillation.losses.vectors import dot_products, unit

Kernel = Literal["gaussian", "bilinear"]


def cc(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    kernel: Kernel = "gaussian",
    gamma: float = 0.4,
    order: int | None = 2,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of the two models' kernel matrices over the batch.

    For sample i the mean over j of (K_s[i, j] - K_t[i, j])**2. With x.y the inner product of two samples'
    vectors, K is x.y ("bilinear"), or the Taylor series in x.y of exp(-gamma * |x - y|**2) for vectors of
    length 1 ("gaussian"): exp(-2 gamma) * sum over p = 0..order of (2 gamma)**p / p! * (x.y)**p.

    When: relations between embeddings should weigh near pairs more than far ones; otherwise `sp` has no settings.

    Args:
        student_features: shape [batch, ...], flattened to one vector a sample. Receives gradient.
        teacher_features: shape [batch, ...]; the width may differ. Detached inside.
        kernel: "gaussian" or "bilinear".
        gamma: sharpness of the Gaussian, > 0; 0.4 in torchdistill's configuration.
        order: last power of the series, >= 1, 2 in torchdistill's; None for the Gaussian itself.
        normalize: bring every vector to length 1 first, as the series presumes.
        mask: shape [batch], True where the sample counts; a masked sample leaves all relations.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the batches differ, or the mask is not [batch].
        ConfigError: if kernel, gamma, order or reduction is not as described.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> student = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(cc(student, teacher).item(), 4)
        0.0532

    Reference: Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang (2019), arXiv:1904.01802.

    Differs: the code that circulates as the authors' (RepDistiller) multiplies the feature gaps of samples next to each
        other in the batch: it depends on their order and is not this loss.
    """
    check_kernel(kernel, gamma, order)
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    if normalize:
        student, teacher = unit(student), unit(teacher)
    counted = counted_samples(student, mask)
    matrices = [kernel_matrix(rows, kernel, gamma, order) for rows in (student, teacher)]
    gaps = chosen((matrices[0] - matrices[1]).square(), pairs(counted))
    return reduce(gaps.sum(dim=1) / number(counted), mask=mask, reduction=reduction)


def check_kernel(kernel: Kernel, gamma: float, order: int | None) -> None:
    """Raise ConfigError unless the three settings describe a kernel."""
    if kernel not in get_args(Kernel):
        raise ConfigError(f"kernel must be 'gaussian' or 'bilinear', got {kernel!r}.")
    check_positive("gamma", gamma)
    if order is not None and (not is_whole(order) or order < 1):
        raise ConfigError(f"order must be a whole number from 1, or None for the Gaussian itself, got {order!r}.")


def kernel_matrix(rows: Tensor, kernel: Kernel, gamma: float, order: int | None) -> Tensor:
    """The kernel between all rows, shape [batch, batch]."""
    products = dot_products(rows, rows)
    if kernel == "bilinear":
        return products
    if order is None:
        squares = rows.square().sum(dim=1)
        return torch.exp(-gamma * (squares.unsqueeze(0) + squares.unsqueeze(1) - 2.0 * products))
    # Horner's rule: 1 + z (1 + z/2 (1 + z/3 (...))) with z = 2 gamma x.y
    series = torch.ones_like(products)
    for power in range(order, 0, -1):
        series = 1.0 + 2.0 * gamma * products / power * series
    return math.exp(-2.0 * gamma) * series


class CC(Loss):
    """`cc` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("relations", "embeddings"),
        signal="features",
        paper=Paper(
            title="Correlation Congruence for Knowledge Distillation",
            authors="Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang",
            year=2019,
            arxiv="1904.01802",
            venue="ICCV",
        ),
        exceptions={"micro_batches": "relations reach across the batch: parts of it do not see each other"},
    )

    def __init__(
        self,
        kernel: Kernel = "gaussian",
        *,
        gamma: float = 0.4,
        order: int | None = 2,
        normalize: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_kernel(kernel, gamma, order)
        self.kernel: Kernel = kernel
        self.gamma = gamma
        self.order = order
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return cc(
            student_features,
            teacher_features,
            kernel=self.kernel,
            gamma=self.gamma,
            order=self.order,
            normalize=self.normalize,
            mask=mask,
            reduction=self.reduction,
        )
