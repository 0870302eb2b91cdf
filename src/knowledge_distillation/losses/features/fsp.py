"""Flow of solution procedure: how the features of one layer turn into those of another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.maps import (
    Elements,
    add_stages,
    check_images,
    paired_stages,
    per_sample,
    pool_to,
    smaller_size,
)
from knowledge_distillation.losses.inputs import check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import dot_products

Pooling = Literal["max", "average"]


def fsp_matrix(first: Tensor, second: Tensor, pooling: Pooling = "max") -> Tensor:
    """Mean over the pixels of the products of every channel of one map with every channel of another.

    Args:
        first: shape [batch, channels, height, width].
        second: shape [batch, other_channels, ...]; the larger map is pooled to the size of the smaller.
        pooling: "max" as in the paper, or "average".

    Returns:
        shape [batch, channels, other_channels].
    """
    check_images(first, second)
    size = smaller_size(first, second)
    one, other = (_pooled(features, size, pooling).flatten(start_dim=2) for features in (first, second))
    return dot_products(one, other) / one.shape[2]


def _pooled(features: Tensor, size: tuple[int, int], pooling: Pooling) -> Tensor:
    if pooling == "average" or features.shape[2:] == size:
        return pool_to(features, size)
    return F.adaptive_max_pool2d(features, size)


def fsp(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    pooling: Pooling = "max",
    elements: Elements = "sum",
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Flow of solution procedure: squared distance between the FSP matrices of student and teacher.

    sum over pairs of layers of |G_s - G_t|**2, with G[i, j] = mean over pixels of first[i] * second[j]. One
    value per sample.

    When: both networks have the same widths at the tapped layers but not the same depth (residual networks).

    Args:
        student_features: two maps or more, [batch, channels, height, width] each, in the order of the network.
            Receives gradient.
        teacher_features: as many maps with the same channels; the sizes may differ. Detached inside.
        pairs: which maps make a matrix, by position; None takes neighbours: (0, 1), (1, 2), ... The paper takes
            the first and the last layer of each residual stage.
        pooling: how the larger map of a pair comes to the size of the smaller: "max" as in the paper, or
            "average".
        elements: "sum" over the entries of a matrix, as in the paper, or their "mean".
        stage_weights: one weight for each pair, the paper's lambda; None weighs all 1.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Feature units to the fourth power: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if there are fewer than two maps, or stages, channels, batches or the mask do not fit.
        ConfigError: if pairs, pooling, elements, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> one = torch.tensor([[[[1.0, 2.0]]]])
        >>> round(fsp([one, one], [one, 2 * one]).item(), 4)
        6.25

    Reference: Yim, Joo, Bae, Kim (2017), CVPR.

    Differs: RepDistiller's code pools by the average and takes the mean over the matrix; set `pooling` and
        `elements` so. torchdistill takes unsquared norms of the columns, which is another loss.
    """
    if pooling not in get_args(Pooling):
        raise ConfigError(f"pooling must be 'max' or 'average', got {pooling!r}.")
    stages = paired_stages(student_features, teacher_features, mask)
    if len(stages) < 2:
        raise ShapeError(f"fsp relates pairs of layers: give two maps or more on each side, got {len(stages)}.")
    chosen = list(itertools.pairwise(range(len(stages)))) if pairs is None else list(pairs)
    if not chosen or not all(0 <= place < len(stages) for pair in chosen for place in pair):
        raise ConfigError(f"pairs must name positions from 0 to {len(stages) - 1}, at least one pair, got {chosen}.")
    values = []
    for first, second in chosen:
        student, teacher = (fsp_matrix(stages[first][side], stages[second][side], pooling) for side in (0, 1))
        check_same_shape(student, teacher, "fsp_matrix")
        values.append(per_sample((student - teacher).square(), elements))
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


class FSP(Loss):
    """`fsp` as a module; see there for shapes, units and sources. It learns nothing."""

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning",
            authors="Yim, Joo, Bae, Kim",
            year=2017,
            venue="CVPR",
        ),
    )

    def __init__(
        self,
        *,
        pairs: Sequence[tuple[int, int]] | None = None,
        pooling: Pooling = "max",
        elements: Elements = "sum",
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.pooling: Pooling = pooling
        self.elements: Elements = elements
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(
        self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], *, mask: Tensor | None = None
    ) -> Tensor:
        return fsp(
            student_features,
            teacher_features,
            pairs=self.pairs,
            pooling=self.pooling,
            elements=self.elements,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
