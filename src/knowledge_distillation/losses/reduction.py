"""The only place where values per item become one number."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError

Reduction = Literal["mean", "sum", "none"]


def reduce(values: Tensor, *, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce one value per item to the asked form.

    Args:
        values: one value per item, shape [*items].
        mask: True (or 1) where the item counts, shape [*items]; None counts all of them.
        reduction: "mean" over the items that count (0 when none counts), "sum" over them,
            or "none": the values themselves, with 0 at masked items.

    Returns:
        A scalar, or [*items] for "none".

    Raises:
        ConfigError: if `reduction` is another word.
        ShapeError: if the mask has another shape than the items.
    """
    check_reduction(reduction)
    if mask is not None:
        check_mask(mask, values.shape)
        values = torch.where(mask.bool(), values, torch.zeros_like(values))
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if mask is None:
        return values.mean() if values.numel() else values.sum()
    return values.sum() / mask.bool().sum().clamp(min=1)


def check_reduction(reduction: Reduction) -> Reduction:
    """Return `reduction` if it is one of the three words, else raise ConfigError."""
    if reduction not in get_args(Reduction):
        raise ConfigError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")
    return reduction


def check_mask(mask: Tensor, items: torch.Size) -> None:
    """Raise ShapeError unless the mask has one entry per item."""
    if mask.shape != items:
        raise ShapeError(
            f"mask must have one entry per item, shape {tuple(items)}, got {tuple(mask.shape)}: "
            "it would be broadcast and weigh the wrong items. Pass a mask without the class axis."
        )
