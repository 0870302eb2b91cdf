"""Inter-channel correlation: channels that go together in the teacher must go together in the student."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import counted_samples, number
from knowledge_distillation.losses.vectors import dot_products, unit

Normalization = Literal["paper", "cifar", "imagenet"]


def ickd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    normalization: Normalization = "paper",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of the two models' channel correlation matrices, one value per sample.

    With F the features of a sample as [channels, pixels] and G = F F^T with every row divided by its length:
    sum over all entries of (G_t - G_s)**2, divided by channels**2.

    When: the maps differ in height and width, or the diversity of the channels is what the student lacks.

    Args:
        student_features: shape [batch, channels, ...], projected to the teacher's channels. Receives gradient.
        teacher_features: shape [batch, channels, ...]; height and width may differ. Detached inside.
        normalization: the divisor: "paper" channels**2, "cifar" channels, "imagenet" channels * batch
            (the last two as in the authors' programs for these data).
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if batch or channels differ, or the mask is not [batch].
        ConfigError: if normalization or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> student = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
        >>> round(ickd(student, teacher).item(), 4)
        0.1992

    Reference: Liu, Huang, Lin, Xie, Wang, Chang, Liang (2021), arXiv:2202.03680.

    Differs: the rows are divided by their lengths as in the authors' code, so that the scale of the features
        drops out. The paper's form for a grid of patches is not here: cut the maps before.
    """
    check_normalization(normalization)
    if (
        min(student_features.dim(), teacher_features.dim()) < 3
        or student_features.shape[:2] != teacher_features.shape[:2]
    ):
        raise ShapeError(
            f"student_features and teacher_features must be [batch, channels, ...] with equal batch and channels: "
            f"student {tuple(student_features.shape)}, teacher {tuple(teacher_features.shape)}. Correlations of "
            "other channels would be compared; project the student to the teacher's channels."
        )
    student = correlations(student_features, mask)
    teacher = correlations(teacher_features.detach(), mask)
    channels = student.shape[1]
    values = (student - teacher).square().sum(dim=(1, 2)) / channels
    if normalization == "paper":
        values = values / channels
    elif normalization == "imagenet":
        values = values / number(counted_samples(student, mask))
    return reduce(values, mask=mask, reduction=reduction)


def correlations(features: Tensor, mask: Tensor | None) -> Tensor:
    """Inner products of all channels of a sample, rows at length 1, shape [batch, channels, channels]."""
    maps = full_precision(hide_masked(features, mask)).flatten(start_dim=2)
    return unit(dot_products(maps, maps))


def check_normalization(normalization: Normalization) -> Normalization:
    """Return `normalization` if it is known, else raise ConfigError."""
    if normalization not in get_args(Normalization):
        raise ConfigError(f"normalization must be 'paper', 'cifar' or 'imagenet', got {normalization!r}.")
    return normalization


class ChannelProjection(nn.Module):
    """1x1 convolution, then every channel standardised over the counted part of the batch, scaled and shifted.

    The statistics are always the batch's own: the projection is never used outside training, and masked
    samples stay out of them.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False)
        self.weight = nn.Parameter(torch.ones(teacher_channels))
        self.bias = nn.Parameter(torch.zeros(teacher_channels))
        self.eps = eps

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Project [batch, student channels, height, width] to the teacher's channels."""
        maps: Tensor = self.convolution(hide_masked(features, mask).to(self.weight.dtype))
        counted = counted_samples(maps, mask).to(maps.dtype).reshape(-1, 1, 1, 1)
        pixels = counted.sum().clamp(min=1) * maps[0, 0].numel()
        mean = (maps * counted).sum(dim=(0, 2, 3), keepdim=True) / pixels
        centred = maps - mean
        variance = (centred.square() * counted).sum(dim=(0, 2, 3), keepdim=True) / pixels
        scale = self.weight.reshape(1, -1, 1, 1) * torch.rsqrt(variance + self.eps)
        return centred * scale + self.bias.reshape(1, -1, 1, 1)


class ICKD(Loss):
    """`ickd` as a module; see there for shapes, units and sources.

    Learns, when both channel counts are given, the student's projection to the teacher's channels.

    Args:
        student_channels: of the student's map. None, together with teacher_channels, learns no projection;
            ConfigError if only one of the two is given.
        teacher_channels: of the teacher's map, or None.
    """

    facts = Facts(
        families=("relations", "features"),
        signal="feature map",
        paper=Paper(
            title="Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation",
            authors="Liu, Huang, Lin, Xie, Wang, Chang, Liang",
            year=2021,
            arxiv="2202.03680",
            venue="ICCV",
        ),
        learns="a 1x1 convolution with batch normalisation on the student's map, if channel counts are given",
        exceptions={"micro_batches": "the projection standardises over the batch, and 'imagenet' divides by it"},
    )

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        *,
        normalization: Normalization = "paper",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if (student_channels is None) != (teacher_channels is None):
            raise ConfigError(
                f"student_channels and teacher_channels must be given together, got {student_channels!r} and "
                f"{teacher_channels!r}. Give both to learn a projection, or none when the channels already match."
            )
        self.projection: ChannelProjection | None = None
        if student_channels is not None and teacher_channels is not None:
            self.projection = ChannelProjection(student_channels, teacher_channels)
        self.normalization: Normalization = check_normalization(normalization)
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        if self.projection is not None:
            student_features = self.projection(student_features, mask)
        return ickd(
            student_features, teacher_features, normalization=self.normalization, mask=mask, reduction=self.reduction
        )
