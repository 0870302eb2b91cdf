"""What the feature losses share: pairs of maps, one spatial size, safe unit vectors, weighted stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import full_precision, hide_masked

Maps = Tensor | Sequence[Tensor]
"""One feature map, or one for each stage from shallow to deep."""

Elements = Literal["mean", "sum"]
"""How the elements of one sample are joined: the usual mean, or the sum that papers write as a squared norm."""

# Below this length a vector has no direction; dividing by it would only amplify rounding.
SHORTEST = 1e-12


def paired(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """One pair of maps with masked samples hidden, the teacher detached, half precision upcast.

    Args:
        student: shape [batch, channels, *space].
        teacher: same batch.
        mask: shape [batch], True where the sample counts, or None.
    """
    if student.dim() < 2 or teacher.dim() < 2 or student.shape[0] != teacher.shape[0]:
        raise ShapeError(
            "student_features and teacher_features must be [batch, channels, *space] of the same batch: student "
            f"{tuple(student.shape)}, teacher {tuple(teacher.shape)}. Samples would be compared with others; "
            "take both from one batch, before any reshaping."
        )
    return full_precision(hide_masked(student, mask)), full_precision(hide_masked(teacher.detach(), mask))


def paired_stages(student: Maps, teacher: Maps, mask: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """`paired` for each stage; a single tensor is one stage."""
    students, teachers = as_stages(student), as_stages(teacher)
    if len(students) != len(teachers) or not students:
        raise ShapeError(
            f"student_features and teacher_features must hold the same number of stages, at least one: student "
            f"{len(students)}, teacher {len(teachers)}. Stages would be left out silently; choose as many layers "
            "on both sides."
        )
    return [paired(one, other, mask) for one, other in zip(students, teachers, strict=True)]


def as_stages(maps: Maps) -> list[Tensor]:
    """A list of maps, from a list, a tuple or a single map."""
    return [maps] if isinstance(maps, Tensor) else list(maps)


def check_images(*maps: Tensor) -> None:
    """Raise ShapeError unless every map is [batch, channels, height, width]."""
    for features in maps:
        if features.dim() != 4:
            raise ShapeError(
                f"feature maps must be [batch, channels, height, width], got {tuple(features.shape)}: this loss "
                "needs the two axes of space. Tap a convolutional layer, or give tokens back their grid."
            )


def one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps [batch, channels, height, width] to the size of the smaller."""
    check_images(student, teacher)
    size = smaller_size(student, teacher)
    return pool_to(student, size), pool_to(teacher, size)


def smaller_size(one: Tensor, other: Tensor) -> tuple[int, int]:
    """The smaller height and the smaller width of two maps."""
    return min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])


def pool_to(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Average-pool a map [batch, channels, height, width] to `size`, untouched where it has it."""
    return features if features.shape[2:] == size else F.adaptive_avg_pool2d(features, size)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors of length 1 along `dim`; one no longer than `SHORTEST` becomes zero, with zero gradient."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return torch.where(length > SHORTEST, vectors / length.clamp(min=SHORTEST), torch.zeros_like(vectors))


def check_elements(elements: str) -> None:
    """Raise ConfigError unless `elements` is one of `Elements`."""
    if elements not in get_args(Elements):
        raise ConfigError(f"elements must be 'mean' or 'sum', got {elements!r}.")


def per_sample(values: Tensor, elements: Elements = "mean") -> Tensor:
    """Join all elements of each sample: [batch, ...] to [batch]."""
    check_elements(elements)
    flat = values.flatten(start_dim=1)
    return flat.mean(dim=1) if elements == "mean" else flat.sum(dim=1)


def add_stages(values: Sequence[Tensor], weights: Sequence[float] | None) -> Tensor:
    """Weighted sum over the stages of one value per sample each."""
    if weights is None:
        return torch.stack(list(values)).sum(dim=0)
    if len(weights) != len(values) or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ConfigError(
            f"stage_weights must be one finite number >= 0 for each of the {len(values)} stages, got {list(weights)}."
        )
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(dim=0)
