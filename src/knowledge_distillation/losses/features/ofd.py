"""Overhaul of feature distillation: margin ReLU on the teacher, partial squared distance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import Channels, connect_stages, stage_connectors
from knowledge_distillation.losses.features.maps import (
    Elements,
    Maps,
    add_stages,
    as_stages,
    paired_stages,
    per_sample,
)
from knowledge_distillation.losses.inputs import check_between, check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def margin_from_batch_norm(norm: nn.Module, *, rare_below: float = 0.0) -> Tensor:
    """Margin of each channel: the mean of the negative values that a batch normalisation gives out.

    E[x | x < 0] for x normal with mean `norm.bias` and deviation |norm.weight|.

    Args:
        norm: the teacher's batch normalisation right before the tapped ReLU; without weight and bias they
            count as 1 and 0.
        rare_below: channels that are negative with a smaller probability than this take minus three deviations
            instead; 0.001 in the authors' code.

    Returns:
        Margins below 0, shape [channels], in the precision of the weights.

    Raises:
        ConfigError: if the module has no num_features, so is no batch normalisation, or rare_below is outside
            0 to 1.

    Example:
        >>> round(margin_from_batch_norm(nn.BatchNorm2d(1)).item(), 4)
        -0.7979

    Reference: Heo et al. (2019), arXiv:1904.01866.

    Differs: the authors' code takes minus three deviations for channels that are almost never negative
        (`rare_below=0.001`); here the paper's formula holds throughout.
    """
    check_between("rare_below", rare_below, 0.0, 1.0)
    channels = getattr(norm, "num_features", None)
    if not isinstance(channels, int):
        raise ConfigError(f"norm must be a batch normalisation of the teacher, got {type(norm).__name__}.")
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    deviation = torch.ones(channels) if weight is None else weight.detach().abs()
    mean = torch.zeros_like(deviation) if bias is None else bias.detach()
    wide, centre = deviation.double().clamp(min=1e-12), mean.double()
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(centre / wide / math.sqrt(2))
    rare = torch.special.ndtr(-centre / wide) <= rare_below
    margin = torch.where(rare & (rare_below > 0), -3 * wide, (centre - wide * hazard).clamp(max=0))
    return margin.to(deviation.dtype)


def ofd(
    student_features: Maps,
    teacher_features: Maps,
    *,
    margins: Maps | None = None,
    elements: Elements = "sum",
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Overhaul distillation: squared distance to the teacher's margin ReLU, but only where it matters.

    target = max(teacher, margin of the channel); sum over elements of (student - target)**2, except 0 where
    student <= target <= 0: there the student's own ReLU hides the difference. Stages are added; one value
    per sample.

    When: convolutional networks with ReLU, tapped before the activation at the end of each stage.

    Args:
        student_features: already through the connector, [batch, channels, height, width] for each stage, before
            the ReLU. Receives gradient.
        teacher_features: same shapes, before the ReLU. Detached inside.
        margins: shape [channels] for each stage, below 0 (`margin_from_batch_norm`). None takes the mean of the
            teacher's negative values of this batch, channel by channel.
        elements: "sum" over the elements of a sample, as in the paper, or their "mean".
        stage_weights: one weight for each stage; None weighs all 1. The authors' code halves it with each stage
            away from the last: 2**(stage - last), and divides the total by 1000 on CIFAR-100, by 10000 on ImageNet.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if stages, shapes, margins or the mask do not fit.
        ConfigError: if elements, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[2.0, -3.0]]]])
        >>> student = torch.tensor([[[[1.0, 0.5]]]])
        >>> ofd(student, teacher, margins=torch.tensor([-1.0])).item()
        3.25

    Reference: Heo, Kim, Yun, Park, Kwak, Choi (2019), arXiv:1904.01866.
    """
    pairs = paired_stages(student_features, teacher_features, mask)
    given = [None] * len(pairs) if margins is None else as_stages(margins)
    if len(given) != len(pairs):
        raise ShapeError(f"margins must hold one tensor for each of the {len(pairs)} stages, got {len(given)}.")
    values = []
    for (student, teacher), margin in zip(pairs, given, strict=True):
        check_same_shape(student, teacher, "features")
        target = torch.maximum(teacher, _of_channels(margin, teacher, mask))
        counted = (student > target) | (target > 0)
        gap = torch.where(counted, student - target, torch.zeros_like(student))
        values.append(per_sample(gap.square(), elements))
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


def _of_channels(margin: Tensor | None, teacher: Tensor, mask: Tensor | None) -> Tensor:
    shape = [1, -1, *[1] * (teacher.dim() - 2)]
    if margin is None:
        axes = [0, *range(2, teacher.dim())]
        negative = teacher < 0
        total = torch.where(negative, teacher, torch.zeros_like(teacher)).sum(dim=axes)
        return (total / negative.sum(dim=axes).clamp(min=1)).reshape(shape)
    if margin.numel() != teacher.shape[1]:
        raise ShapeError(
            f"margins must have one value for each of the {teacher.shape[1]} channels, got shape {tuple(margin.shape)}."
        )
    return margin.detach().to(teacher).reshape(shape)


class OFD(Loss):
    """`ofd` as a module; see there for shapes, units and sources.

    With channel counts it learns one connector for each stage: a 1x1 convolution and batch normalisation.

    Args:
        student_channels: of the student's maps, whole numbers above 0, one for each stage from shallow to deep; one
            number is one stage. None, on both sides together, learns no connectors. ConfigError if only one side
            is given or the numbers of stages differ.
        teacher_channels: of the teacher's maps, in the same way.
    """

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="A Comprehensive Overhaul of Feature Distillation",
            authors="Heo, Kim, Yun, Park, Kwak, Choi",
            year=2019,
            arxiv="1904.01866",
        ),
        learns="connectors: 1x1 convolution and batch normalisation for each stage, if channels are given",
        exceptions={
            "micro_batches": "the connector's batch normalisation, and margins that are not given, see the whole batch"
        },
    )

    def __init__(
        self,
        student_channels: Channels | None = None,
        teacher_channels: Channels | None = None,
        *,
        margins: Sequence[Tensor | Sequence[float]] | None = None,
        elements: Elements = "sum",
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.connectors = stage_connectors(student_channels, teacher_channels)
        self.stages_with_margin = 0 if margins is None else len(margins)
        for stage, margin in enumerate(margins or ()):
            self.register_buffer(f"margin_{stage}", torch.as_tensor(margin, dtype=torch.get_default_dtype()).clone())
        self.elements: Elements = elements
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        margins: list[Tensor] = [getattr(self, f"margin_{stage}") for stage in range(self.stages_with_margin)]
        return ofd(
            connect_stages(self.connectors, student_features, mask),
            teacher_features,
            margins=margins or None,
            elements=self.elements,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
