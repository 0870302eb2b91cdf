"""The two ways to weigh a distance between numbers: squared, or Huber's."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import check_positive

Penalty = Literal["squared", "huber"]


def check_penalty(penalty: str, delta: float) -> None:
    """Raise ConfigError unless the penalty is known and delta is a positive finite number."""
    if penalty not in get_args(Penalty):
        raise ConfigError(f"penalty must be 'squared' or 'huber', got {penalty!r}.")
    check_positive("delta", delta)


def penalised(gap: Tensor, penalty: Penalty, delta: float) -> Tensor:
    """The penalty of each gap, same shape: gap**2, or Huber's, which grows linearly beyond `delta`."""
    if penalty == "squared":
        return gap.square()
    size = gap.abs()
    return torch.where(size <= delta, 0.5 * gap.square(), delta * (size - 0.5 * delta))


def check_predictions(student: Tensor) -> None:
    """Raise ShapeError unless predictions have an item axis and an output axis."""
    if student.dim() < 2:
        raise ShapeError(
            f"predictions must have shape [*items, outputs], got {tuple(student.shape)}: without an output axis, items "
            "would be taken for outputs. Add it with unsqueeze(-1)."
        )
