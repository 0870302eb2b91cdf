"""Attention transfer: where the layers look, whatever their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.maps import Maps, add_stages, one_size, paired_stages, unit
from knowledge_distillation.losses.inputs import check_between
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

Distance = Literal["norm", "mean_squared"]


def attention_map(features: Tensor, power: float = 2.0) -> Tensor:
    """Spatial attention of a map: the channels' |value|**power added, as a unit vector over the pixels.

    Args:
        features: shape [batch, channels, height, width].
        power: from 1 on; higher looks more at the strongest channels.

    Returns:
        shape [batch, height * width], of length 1 (0 where the map is all zero).
    """
    # The unit vector does not depend on the scale; without it, powers of large or tiny values leave float32.
    scale = features.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = features / torch.where(scale > 0, scale, torch.ones_like(scale))
    return unit(scaled.abs().pow(power).mean(dim=1).flatten(start_dim=1))


def at(
    student_features: Maps,
    teacher_features: Maps,
    *,
    power: float = 2.0,
    distance: Distance = "norm",
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Attention transfer: distance between the spatial attention maps of student and teacher.

    sum over stages of |Q_s / |Q_s| - Q_t / |Q_t||, with Q the channels' |value|**power added, flattened over
    the pixels. One value per sample.

    When: convolutional networks of one kind with unlike widths; no projector is needed.

    Args:
        student_features: [batch, channels, height, width] for each stage. Receives gradient.
        teacher_features: as many stages; channels may differ, and the larger map is average-pooled to the size
            of the smaller. Detached inside.
        power: >= 1; 2 in the authors' code.
        distance: "norm", the paper's Euclidean norm, or "mean_squared", the mean over pixels of the squared
            differences, as the authors' code has it (its weight is 1000).
        stage_weights: one weight for each stage; None weighs all 1.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless; each stage of the norm is at most sqrt(2). A scalar, or [batch] for "none". 0 when no
        sample counts.

    Raises:
        ShapeError: if stages, batches or the mask do not fit.
        ConfigError: if power is below 1, or distance, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 0.0]]]])
        >>> student = torch.tensor([[[[1.0, 1.0]]]])
        >>> round(at(student, teacher).item(), 4)
        0.7654

    Reference: Zagoruyko, Komodakis (2016), eq. 2 with p = 2, arXiv:1612.03928.

    Differs: the paper's factor of beta / 2 is the term's weight. The authors' code squares the norm and divides
        by the pixels; that is `distance="mean_squared"`, and published weights near 1000 belong to it.
    """
    check_between("power", power, 1.0, float("inf"))
    if distance not in get_args(Distance):
        raise ConfigError(f"distance must be 'norm' or 'mean_squared', got {distance!r}.")
    values = []
    for pair in paired_stages(student_features, teacher_features, mask):
        student, teacher = one_size(*pair)
        gap = attention_map(student, power) - attention_map(teacher, power)
        values.append(torch.linalg.vector_norm(gap, dim=1) if distance == "norm" else gap.square().mean(dim=1))
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


class AT(Loss):
    """`at` as a module; see there for shapes, units and sources. It learns nothing."""

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks "
            "via Attention Transfer",
            authors="Zagoruyko, Komodakis",
            year=2016,
            arxiv="1612.03928",
        ),
    )

    def __init__(
        self,
        power: float = 2.0,
        *,
        distance: Distance = "norm",
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.power = check_between("power", power, 1.0, float("inf"))
        self.distance: Distance = distance
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        return at(
            student_features,
            teacher_features,
            power=self.power,
            distance=self.distance,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
