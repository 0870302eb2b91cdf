"""Feature-based distillation of detectors: attention-guided, and the relations between pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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


def fbkd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    student_relation: Callable[[Tensor], Tensor],
    teacher_relation: Callable[[Tensor], Tensor],
    temperature: float = 0.1,
    attention_weight: float = 4e-3,
    feature_weight: float = 7e-5,
    relation_weight: float = 7e-5,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Distance of the attention maps, of the features weighed by attention, and of non-local relations.

    With a(f) the mean |f| over channels at each pixel, b(f) the mean |f| over pixels in each channel, and |x|_2
    the square root of the sum of squares over one sample:
    attention_weight * (|a(s) - a(t)|_2 + |b(s) - b(t)|_2)
    + feature_weight * |(s - t) * sqrt(M N)|_2 + relation_weight * |r_s(s) - r_t(t)|_2, with
    M = pixels * softmax((a(s) + a(t)) / temperature), N = channels * softmax((b(s) + b(t)) / temperature).

    When: object detection without boxes at hand; on each level of the feature pyramid.

    Args:
        student_features: shape [batch, channels, height, width], projected. Receives gradient, but not through
            the weights M and N.
        teacher_features: same shape. Detached inside; the teacher's relation block still learns.
        student_relation: r_s, map -> map of the same shape, such as `NonLocal`; trains with the student.
        teacher_relation: r_t, the same for the teacher's map; trains with the student.
        temperature: of M and N, > 0; copies of the authors' code take 0.1, mmrazor's port of it 0.5.
        attention_weight: >= 0; 4e-3 in the authors' code, as mmrazor reports it.
        feature_weight: >= 0; 7e-5 likewise.
        relation_weight: >= 0; 7e-5 likewise.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        In units of the features: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the maps differ, or the mask is not [batch].
        ConfigError: if temperature, a weight or reduction is not as described.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 3.0]]]])
        >>> same = dict(student_relation=torch.nn.Identity(), teacher_relation=torch.nn.Identity())
        >>> round(fbkd(student, teacher, **same, attention_weight=1.0, feature_weight=0.0).item(), 4)
        7.2429

    Reference: Zhang, Ma (2021), ICLR, https://openreview.net/forum?id=uKhGRvM8QNH.

    Differs: mmrazor's port of the authors' code takes each root over the whole batch, averages two softmaxes
        for M, leaves out N as they did, compares signed means of features instead of a and b, and has a learned
        adaptation of its own in front of each comparison. Here the formulas above hold, sample by sample.
    """
    check_positive("temperature", temperature)
    check_weights(attention_weight=attention_weight, feature_weight=feature_weight, relation_weight=relation_weight)
    check_same_shape(student_features, teacher_features, "features")
    student = full_precision(hide_masked(student_features, mask))
    teacher = full_precision(hide_masked(teacher_features.detach(), mask))
    pixels, pixels_teacher = student.abs().mean(dim=1).flatten(1), teacher.abs().mean(dim=1).flatten(1)
    channels, channels_teacher = student.abs().mean(dim=(2, 3)), teacher.abs().mean(dim=(2, 3))
    looks = length(pixels - pixels_teacher) + length(channels - channels_teacher)
    weights = (
        focus(pixels + pixels_teacher, temperature)[:, None, :]
        * focus(channels + channels_teacher, temperature)[:, :, None]
    )
    features = length((student - teacher).flatten(2) * weights.sqrt())
    relations = length(student_relation(student) - teacher_relation(teacher))
    values = attention_weight * looks + feature_weight * features + relation_weight * relations
    return reduce(values, mask=mask, reduction=reduction)


def focus(attention: Tensor, temperature: float) -> Tensor:
    """Attention [batch, places] as constant weights with mean 1."""
    return (attention.detach() / temperature).softmax(dim=1) * attention.shape[1]


def length(gaps: Tensor) -> Tensor:
    """Root of the sum of squares of each sample; its gradient is 0 where the length is."""
    norm: Tensor = torch.linalg.vector_norm(gaps.flatten(start_dim=1), dim=1)
    return norm


class NonLocal(nn.Module):
    """Adds to every pixel the mean over all pixels of their value, weighed by inner products with them.

    The inner products are not normalised, so that keys and values can be multiplied first: cost and memory
    grow with the number of pixels, not with its square.
    """

    def __init__(self, channels: int, width: int | None = None) -> None:
        super().__init__()
        width = max(channels // 2, 1) if width is None else width
        self.query = nn.Conv2d(channels, width, kernel_size=1)
        self.key = nn.Conv2d(channels, width, kernel_size=1)
        self.value = nn.Conv2d(channels, width, kernel_size=1)
        self.out = nn.Conv2d(width, channels, kernel_size=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """The map with its relations added, same shape [batch, channels, height, width]."""
        query, key, value = (part(features).flatten(2) for part in (self.query, self.key, self.value))
        mixed = (value @ key.transpose(1, 2)) @ query / query.shape[2]
        related: Tensor = self.out(mixed.unflatten(2, features.shape[2:]))
        return features + related


class FBKD(Loss):
    """`fbkd` as a module; see there for shapes, units and sources.

    Learns a 1x1 convolution on the student and a non-local block on each side.

    Args:
        student_channels: of the student's map, after the neck of the detector.
        teacher_channels: of the teacher's map; None takes student_channels.
    """

    facts = Facts(
        families=("dense",),
        signal="feature map",
        paper=Paper(
            title="Improve Object Detection with Feature-based Knowledge Distillation: "
            "Towards Accurate and Efficient Detectors",
            authors="Zhang, Ma",
            year=2021,
            venue="ICLR",
        ),
        learns="a 1x1 convolution on the student and a non-local block on each side",
        exceptions={
            "zero_at_equality": "the projection and the non-local blocks have weights of their own",
            "gradcheck": "the attention weights depend on the student and are taken as constants",
        },
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int | None = None,
        *,
        temperature: float = 0.1,
        attention_weight: float = 4e-3,
        feature_weight: float = 7e-5,
        relation_weight: float = 7e-5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_weights(attention_weight=attention_weight, feature_weight=feature_weight, relation_weight=relation_weight)
        channels = student_channels if teacher_channels is None else teacher_channels
        self.projection = nn.Conv2d(student_channels, channels, kernel_size=1)
        self.student_relation = NonLocal(channels)
        self.teacher_relation = NonLocal(channels)
        self.temperature = temperature
        self.attention_weight = attention_weight
        self.feature_weight = feature_weight
        self.relation_weight = relation_weight
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return fbkd(
            self.projection(full_precision(hide_masked(student_features, mask))),
            teacher_features,
            student_relation=self.student_relation,
            teacher_relation=self.teacher_relation,
            temperature=self.temperature,
            attention_weight=self.attention_weight,
            feature_weight=self.feature_weight,
            relation_weight=self.relation_weight,
            mask=mask,
            reduction=self.reduction,
        )
