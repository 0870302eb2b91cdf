"""Checks that the dense losses share: weights, and the several outputs of a detection head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.inputs import check_same_shape, check_weight


def check_weights(**weights: float) -> None:
    """Raise ConfigError naming the first weight that is below 0 or not finite."""
    for name, weight in weights.items():
        check_weight(name, weight)


def check_head(student: Sequence[Tensor], teacher: Sequence[Tensor], *, names: tuple[str, ...]) -> None:
    """Raise ShapeError unless both sides have the named tensors, alike, for the same items."""
    if len(student) != len(names) or len(teacher) != len(names):
        raise ShapeError(
            f"student and teacher must be the tensors ({', '.join(names)}) in this order: got {len(student)} and "
            f"{len(teacher)} tensors. Pass each model's head outputs as a list."
        )
    for name, ours, theirs in zip(names, student, teacher, strict=True):
        check_same_shape(ours, theirs, name)
    items = [part.shape if name == "objectness" else part.shape[:-1] for name, part in zip(names, student, strict=True)]
    if any(shape != items[0] for shape in items):
        raise ShapeError(
            f"{', '.join(names)} must speak of the same items, got shapes {[tuple(part.shape) for part in student]}: "
            "errors of different items would be added up. Bring all to [*items, ...] with the same items."
        )
