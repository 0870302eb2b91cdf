"""Vectors along the last axis: unit length without NaN, and dot products that autocast must not round."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(rows: Tensor) -> Tensor:
    """Vectors along the last axis at length 1; a zero vector stays zero and gets zero gradient."""
    squares = rows.square().sum(dim=-1, keepdim=True)
    zero = squares == 0
    return (rows / squares.masked_fill(zero, 1.0).sqrt()).masked_fill(zero, 0.0)


def dot_products(left: Tensor, right: Tensor) -> Tensor:
    """All dot products of the rows of `left` with the rows of `right`, never in half precision.

    Autocast would round them to 8 or 11 bits, which a temperature of 0.01 turns into errors of half a nat.

    Args:
        left: shape [..., n, width].
        right: shape [..., m, width], same dtype.

    Returns:
        shape [..., n, m].
    """
    with no_autocast(left):
        return left @ right.mT


def no_autocast(tensor: Tensor) -> torch.autocast:
    """Keep matrix products in the precision of their inputs inside an autocast region."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)
