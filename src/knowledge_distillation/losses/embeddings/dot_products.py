"""Dot products that stay exact where similarities are divided by small temperatures."""

from __future__ import annotations

import torch
from torch import Tensor


def dot_products(left: Tensor, right: Tensor) -> Tensor:
    """All dot products of the rows of `left` with the rows of `right`, never in half precision.

    Autocast would round them to 8 or 11 bits, which a temperature of 0.01 turns into errors of half a nat.

    Args:
        left: shape [..., n, width].
        right: shape [..., m, width], same dtype.

    Returns:
        shape [..., n, m].
    """
    with torch.autocast(left.device.type, enabled=False):
        return torch.matmul(left, right.transpose(-1, -2))
