"""Masked generative distillation: from a part of its own map the student must paint the teacher's."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_pairs, connect
from knowledge_distillation.losses.features.maps import Elements, check_images, paired, per_sample
from knowledge_distillation.losses.inputs import check_between, check_same_shape, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

Masked = Literal["pixels", "channels"]


def mgd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    generation: nn.Sequential,
    visible: Tensor | None = None,
    masked: Masked = "pixels",
    masked_share: float = 0.65,
    elements: Elements = "sum",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Masked generative distillation: squared distance to the teacher of what is generated from a masked map.

    sum over elements of (teacher - generation(student * visible))**2, with random pixels, or channels, of the
    student's map set to 0. One value per sample.

    When: detection, segmentation and classification, as one recipe for all three.

    Args:
        student_features: already aligned to the teacher's channels, shape [batch, channels, height, width].
            Receives gradient.
        teacher_features: same shape. Detached inside.
        generation: the learned block, two 3x3 convolutions with a ReLU between them. Receives gradient.
        visible: 1 where the student's map stays, 0 where it is masked, shape [batch, 1, height, width] for
            pixels, or [batch, channels, 1, 1] for channels. None draws what `masked` says.
        masked: "pixels", as in the paper, or "channels", as in the authors' classification code; for drawing.
        masked_share: probability that a pixel or channel is masked, 0 to 1, when `visible` is drawn. The authors'
            configurations take 0.65 for one-stage detectors, 0.45 for two-stage ones, 0.75 for segmentation, and
            0.15 of the channels for classification.
        elements: "sum" over the elements of a sample, as in the paper, or their "mean".
        mask: shape [batch], True where the sample counts; None counts all. Not the random mask.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the samples.
        ConfigError: if masked_share is outside 0 to 1, or masked, elements or reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[[1.0, 2.0]]]])
        >>> visible = torch.tensor([[[[1.0, 0.0]]]])
        >>> mgd(student, torch.ones(1, 1, 1, 2), generation=torch.nn.Sequential(), visible=visible).item()
        1.0

    Reference: Yang, Li, Shao, Shi, Yuan, Yuan (2022), arXiv:2205.01529.
    """
    check_between("masked_share", masked_share, 0.0, 1.0)
    check_masked(masked)
    check_images(student_features, teacher_features)
    check_same_shape(student_features, teacher_features, "features")
    student, teacher = paired(student_features, teacher_features, mask)
    if visible is None:
        drawn = student[:, :1] if masked == "pixels" else student[:, :, :1, :1]
        visible = torch.rand_like(drawn) >= masked_share
    generated = connect(generation, student * hide_masked(visible, mask).to(student.dtype), mask)
    return reduce(per_sample((generated - teacher).square(), elements), mask=mask, reduction=reduction)


def check_masked(masked: Masked) -> Masked:
    """Return `masked` if it is known, else raise ConfigError."""
    if masked not in get_args(Masked):
        raise ConfigError(f"masked must be 'pixels' or 'channels', got {masked!r}.")
    return masked


class MGD(Loss):
    """`mgd` as a module; see there for shapes, units and sources.

    It learns `align`, a 1x1 convolution to the teacher's channels (left out where they agree), and
    `generation`, two 3x3 convolutions with a ReLU between them. Only training needs them.

    Args:
        student_channels: of the student's map, a whole number above 0; else ConfigError.
        teacher_channels: of the teacher's map, likewise.
    """

    facts = Facts(
        families=("features", "dense"),
        signal="feature map",
        paper=Paper(
            title="Masked Generative Distillation",
            authors="Yang, Li, Shao, Shi, Yuan, Yuan",
            year=2022,
            arxiv="2205.01529",
        ),
        learns="align: 1x1 convolution; generation: two 3x3 convolutions",
        exceptions={"zero_at_equality": "a masked copy of the teacher passes through the learned generation block"},
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        masked: Masked = "pixels",
        masked_share: float = 0.65,
        elements: Elements = "sum",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
        self.align = nn.Sequential()
        if student != teacher:
            self.align.append(nn.Conv2d(student, teacher, 1))
        self.generation = nn.Sequential(
            nn.Conv2d(teacher, teacher, 3, padding=1), nn.ReLU(), nn.Conv2d(teacher, teacher, 3, padding=1)
        )
        self.masked: Masked = check_masked(masked)
        self.masked_share = check_between("masked_share", masked_share, 0.0, 1.0)
        self.elements: Elements = elements
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        *,
        visible: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return mgd(
            connect(self.align, student_features, mask),
            teacher_features,
            generation=self.generation,
            visible=visible,
            masked=self.masked,
            masked_share=self.masked_share,
            elements=self.elements,
            mask=mask,
            reduction=self.reduction,
        )
