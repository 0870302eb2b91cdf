"""How the learned parts of the feature losses are built and run: channels checked, masked samples left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.features.maps import Maps, as_stages
from knowledge_distillation.losses.inputs import full_precision, hide_masked

Channels = int | Sequence[int]
"""Channels of one map, or of one for each stage from shallow to deep."""


def channel_list(name: str, channels: Channels) -> list[int]:
    """The channels of each stage, checked to be whole numbers above 0."""
    listed = [channels] if isinstance(channels, int) else list(channels)
    if not listed or not all(isinstance(count, int) and count > 0 for count in listed):
        raise ConfigError(f"{name} must be a whole number above 0, or one for each stage, got {channels!r}.")
    return listed


def channel_pairs(student_channels: Channels, teacher_channels: Channels) -> list[tuple[int, int]]:
    """Student's and teacher's channels of each stage, checked to be as many."""
    students = channel_list("student_channels", student_channels)
    teachers = channel_list("teacher_channels", teacher_channels)
    if len(students) != len(teachers):
        raise ConfigError(
            "student_channels and teacher_channels must have the same number of stages: student "
            f"{students}, teacher {teachers}. List as many taps on both sides."
        )
    return list(zip(students, teachers, strict=True))


def convolution(inputs: int, outputs: int, size: int = 1) -> nn.Conv2d:
    """Convolution without bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)


def connect(layers: nn.Sequential, features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run `layers` on a map such that masked samples do not enter the batch statistics.

    Args:
        layers: convolutions, batch normalisations, activations.
        features: shape [batch, channels, height, width]; cast to the layers' precision.
        mask: shape [batch], True where the sample counts, or None.
    """
    weight = next(layers.parameters(), None)
    features = hide_masked(features, mask)
    features = features if weight is None else features.to(weight.dtype)
    for layer in layers:
        features = _normalise(layer, features, mask) if isinstance(layer, nn.BatchNorm2d) else layer(features)
    return features


def stage_connectors(student_channels: Channels | None, teacher_channels: Channels | None) -> nn.ModuleList:
    """A 1x1 convolution with batch normalisation for each stage; none at all without channels."""
    if student_channels is None and teacher_channels is None:
        return nn.ModuleList()
    if student_channels is None or teacher_channels is None:
        raise ConfigError("student_channels and teacher_channels must be given together, or neither of them.")
    pairs = channel_pairs(student_channels, teacher_channels)
    return nn.ModuleList(
        nn.Sequential(convolution(student, teacher), nn.BatchNorm2d(teacher)) for student, teacher in pairs
    )


def connect_stages(connectors: nn.ModuleList, features: Maps, mask: Tensor | None) -> list[Tensor]:
    """Each stage through its connector; as it comes where there are none."""
    stages = as_stages(features)
    if not connectors:
        return stages
    if len(stages) != len(connectors):
        raise ShapeError(f"this loss was built for {len(connectors)} stages, got {len(stages)} student maps.")
    return [connect(cast(nn.Sequential, layers), stage, mask) for layers, stage in zip(connectors, stages, strict=True)]


def _normalise(norm: nn.BatchNorm2d, features: Tensor, mask: Tensor | None) -> Tensor:
    values_a_channel = features.numel() // features.shape[1]
    # PyTorch refuses to train on one value a channel; the formula below gives the bias there.
    if not norm.training or (mask is None and values_a_channel > 1):
        normalised: Tensor = norm(features)
        return normalised
    precision, features = features.dtype, full_precision(features)
    keep = torch.ones_like(features[:, :1]) if mask is None else _weights(features, mask)
    count = keep.sum()
    mean = (features * keep).sum(dim=(0, 2, 3)) / count.clamp(min=1)
    centred = features - mean[:, None, None]
    variance = (centred.square() * keep).sum(dim=(0, 2, 3)) / count.clamp(min=1)
    _track(norm, mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach(), count)
    scaled = centred * (variance[:, None, None] + norm.eps).rsqrt()
    return (scaled * norm.weight[:, None, None] + norm.bias[:, None, None]).to(precision)


def _weights(features: Tensor, mask: Tensor) -> Tensor:
    return torch.ones_like(features[:, :1]) * mask.to(features.dtype)[:, None, None, None]


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = (norm.momentum or 0.1) * (count > 0).to(mean.dtype)
    norm.running_mean.add_((mean - norm.running_mean) * share)
    norm.running_var.add_((variance - norm.running_var) * share)
