"""Focal and global distillation of detectors: objects and background apart, and the whole picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.dense.checks import check_weights
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

Size = tuple[float, float] | Tensor


def fgd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    boxes: Sequence[Tensor] | Tensor,
    image_size: Size,
    student_context: Callable[[Tensor], Tensor],
    teacher_context: Callable[[Tensor], Tensor],
    temperature: float = 0.5,
    foreground_weight: float = 1e-3,
    background_weight: float = 5e-4,
    attention_weight: float = 5e-4,
    relation_weight: float = 5e-6,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared feature error inside and outside the objects, weighed by the teacher's attention, plus two terms.

    With A(f) = height * width * softmax over pixels of mean_c |f| / temperature, B(f) = channels * softmax over
    channels of the mean |f| of a channel / temperature: the sum over channels and pixels of
    S * A(t) * B(t) * (s - t)**2, once with S = 1 / (cells of the box) inside boxes (the smallest box where they
    overlap) times foreground_weight, once with S = 1 / (cells outside all boxes) outside, times
    background_weight; plus attention_weight * (|A(s) - A(t)| + |B(s) - B(t)|, summed); plus relation_weight *
    the squared difference of the two maps after their context blocks, summed. One value per sample.

    When: object detection with ground-truth boxes at hand; on each level of the feature pyramid.

    Args:
        student_features: shape [batch, channels, height, width]. Receives gradient.
        teacher_features: same shape. Detached inside; the teacher's context block still learns.
        boxes: one tensor [objects, 4] a sample with left, top, right, bottom in pixels of the input image, or all
            in one tensor [batch, objects, 4], where rows with right < left, bottom < top or NaN are padding.
        image_size: height and width in pixels of the picture that the feature map covers: a pair, or a tensor
            [batch, 2].
        student_context: map -> map of the same shape, such as `GlobalContext`; trains with the student.
        teacher_context: the same for the teacher's map; trains with the student.
        temperature: of the attention, > 0; 0.5 in the authors' configurations, but 0.8 for FCOS.
        foreground_weight: >= 0. The authors use for these four 1e-3, 5e-4, 5e-4, 5e-6 on RetinaNet, GFL and
            SOLO, 1.6e-3, 8e-4, 8e-4, 8e-6 on FCOS and RepPoints, 5e-5, 2.5e-5, 5e-5, 5e-7 on two-stage detectors.
        background_weight: >= 0.
        attention_weight: >= 0.
        relation_weight: >= 0.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        In units of squared features: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the maps differ, the boxes do not fit the batch, or the mask is not [batch].
        ConfigError: if temperature, a weight or reduction is not as described.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[2.0, 2.0]]]])
        >>> same = torch.nn.Identity()
        >>> parts = dict(student_context=same, teacher_context=same, attention_weight=0.0, relation_weight=0.0)
        >>> box = [torch.tensor([[0.0, 0.0, 3.0, 8.0]])]
        >>> round(fgd(student, teacher, boxes=box, image_size=(8, 16), foreground_weight=1.0, **parts).item(), 4)
        2.0

    Reference: Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan (2022), arXiv:2111.11837.

    Differs: a box covers the cells from floor(top) to ceil(bottom) inclusive, likewise sideways, and its
        cells are counted also beyond the map's edge, as in the authors' code.
    """
    check_positive("temperature", temperature)
    check_weights(
        foreground_weight=foreground_weight,
        background_weight=background_weight,
        attention_weight=attention_weight,
        relation_weight=relation_weight,
    )
    check_same_shape(student_features, teacher_features, "features")
    student = full_precision(hide_masked(student_features, mask))
    teacher = full_precision(hide_masked(teacher_features.detach(), mask))
    foreground, background = box_scales(boxes, image_size, teacher)
    spatial, channel = attention(teacher, temperature)
    spatial_student, channel_student = attention(student, temperature)
    gaps = ((student - teacher).square() * channel[:, :, None, None]).sum(dim=1) * spatial
    scales = foreground_weight * foreground + background_weight * background
    focal = (gaps * scales).sum(dim=(1, 2))
    looks = (spatial_student - spatial).abs().sum(dim=(1, 2)) + (channel_student - channel).abs().sum(dim=1)
    whole = (student_context(student) - teacher_context(teacher)).square().sum(dim=(1, 2, 3))
    return reduce(focal + attention_weight * looks + relation_weight * whole, mask=mask, reduction=reduction)


def attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Where and in which channels a map is large: [batch, height, width] and [batch, channels], mean 1 each."""
    size = features.abs()
    pixels = size.mean(dim=1)
    spatial = (pixels.flatten(start_dim=1) / temperature).softmax(dim=1).reshape(pixels.shape) * pixels[0].numel()
    channel = (size.mean(dim=(2, 3)) / temperature).softmax(dim=1) * features.shape[1]
    return spatial, channel


def box_scales(boxes: Sequence[Tensor] | Tensor, image_size: Size, features: Tensor) -> tuple[Tensor, Tensor]:
    """The scales S of the objects and of the background, each [batch, height, width]."""
    batch, _, height, width = features.shape
    if not isinstance(boxes, Tensor):
        boxes = pad_sequence([each.to(features) for each in boxes], batch_first=True, padding_value=math.nan)
    if boxes.dim() != 3 or boxes.shape[0] != batch or boxes.shape[2] != 4:
        raise ShapeError(
            f"boxes must be one tensor [objects, 4] for each of the {batch} samples, or one tensor "
            f"[batch, objects, 4]; got shape {tuple(boxes.shape)} when put together. Boxes would be laid over the "
            "wrong pictures; pass an empty [0, 4] tensor for a picture without objects."
        )
    # one padding row, so that the maximum over no box at all exists
    boxes = torch.cat([boxes.detach().to(features), features.new_full((batch, 1, 4), math.nan)], dim=1)
    size = torch.as_tensor(image_size, dtype=features.dtype, device=features.device).expand(batch, 2)
    left, top, right, bottom = boxes.unbind(dim=2)
    real = (right >= left) & (bottom >= top)
    first_row, last_row = cells(top, bottom, size[:, :1], height)
    first_column, last_column = cells(left, right, size[:, 1:], width)
    area = (last_row - first_row + 1) * (last_column - first_column + 1)
    scale = torch.where(real, area.masked_fill(~real, 1.0).reciprocal(), torch.zeros_like(area))
    inside = within(first_row, last_row, height).unsqueeze(3) & within(first_column, last_column, width).unsqueeze(2)
    foreground = (inside * scale[:, :, None, None]).amax(dim=1)
    outside = (foreground == 0).to(features)
    return foreground, outside / outside.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def cells(low: Tensor, high: Tensor, extent: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First and last cell of an interval in pixels, on `count` cells that cover `extent` pixels."""
    return (low * count / extent).floor(), (high * count / extent).ceil()


def within(first: Tensor, last: Tensor, count: int) -> Tensor:
    """Bool [batch, objects, count]: which cells lie from first to last."""
    cell = torch.arange(count, device=first.device)
    return (cell >= first.unsqueeze(2)) & (cell <= last.unsqueeze(2))


class GlobalContext(nn.Module):
    """Adds to every pixel what the whole map says: attention-pooled, through a two-layer bottleneck (GcBlock)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(channels // 2, 1)
        self.attention = nn.Conv2d(channels, 1, kernel_size=1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, middle, kernel_size=1),
            nn.LayerNorm([middle, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(middle, channels, kernel_size=1),
        )
        nn.init.kaiming_normal_(self.attention.weight)
        for parameter in self.transform[3].parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """The map with its context added, same shape [batch, channels, height, width]."""
        look = self.attention(features).flatten(start_dim=2).softmax(dim=2)
        pooled = torch.einsum("ncp,nkp->nc", features.flatten(start_dim=2), look)
        context: Tensor = self.transform(pooled[:, :, None, None])
        return features + context


class FGD(Loss):
    """`fgd` as a module; see there for shapes, units and sources.

    Learns a context block on each side and, if the channel counts differ, a 1x1 convolution on the student.

    Args:
        student_channels: of the student's map, after the neck of the detector.
        teacher_channels: of the teacher's map; None takes student_channels.
    """

    facts = Facts(
        families=("dense",),
        signal="feature map",
        paper=Paper(
            title="Focal and Global Knowledge Distillation for Detectors",
            authors="Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan",
            year=2022,
            arxiv="2111.11837",
            venue="CVPR",
        ),
        needs=("boxes", "image_size"),
        learns="a context block on each side; a 1x1 convolution on the student if the channels differ",
        exceptions={"zero_at_equality": "the context blocks of the two sides have weights of their own"},
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int | None = None,
        *,
        temperature: float = 0.5,
        foreground_weight: float = 1e-3,
        background_weight: float = 5e-4,
        attention_weight: float = 5e-4,
        relation_weight: float = 5e-6,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_weights(
            foreground_weight=foreground_weight,
            background_weight=background_weight,
            attention_weight=attention_weight,
            relation_weight=relation_weight,
        )
        channels = student_channels if teacher_channels is None else teacher_channels
        same = channels == student_channels
        self.projection = nn.Identity() if same else nn.Conv2d(student_channels, channels, kernel_size=1)
        self.student_context = GlobalContext(channels)
        self.teacher_context = GlobalContext(channels)
        self.temperature = temperature
        self.foreground_weight = foreground_weight
        self.background_weight = background_weight
        self.attention_weight = attention_weight
        self.relation_weight = relation_weight
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        *,
        boxes: Sequence[Tensor] | Tensor,
        image_size: Size,
        mask: Tensor | None = None,
    ) -> Tensor:
        return fgd(
            self.projection(full_precision(hide_masked(student_features, mask))),
            teacher_features,
            boxes=boxes,
            image_size=image_size,
            student_context=self.student_context,
            teacher_context=self.teacher_context,
            temperature=self.temperature,
            foreground_weight=self.foreground_weight,
            background_weight=self.background_weight,
            attention_weight=self.attention_weight,
            relation_weight=self.relation_weight,
            mask=mask,
            reduction=self.reduction,
        )
