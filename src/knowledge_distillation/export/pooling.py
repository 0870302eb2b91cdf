"""Adaptive average pooling with bins of unequal size, in operators that ONNX has."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from knowledge_distillation.export.calls import Plain


class MatrixPool2d(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two matrix products.

    ONNX has no adaptive pooling. Where the bins are equal, exporters write an average pool; where not (7 x 7 to 4 x 4),
    they write some thirty gathers, which outweigh a small student and slow it down.

    Args:
        size: rows and columns of the output; None keeps the input's.
    """

    def __init__(self, size: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Means over the bins of `nn.AdaptiveAvgPool2d`; [..., height, width] to [..., rows, columns]."""
        height, width = images.shape[-2:]
        rows, columns = self.size[0] or height, self.size[1] or width
        if (
            isinstance(height, torch.SymInt)
            or isinstance(width, torch.SymInt)
            or (height % rows == width % columns == 0)
        ):
            return nn.functional.adaptive_avg_pool2d(images, (rows, columns))
        return means(height, rows).to(images) @ images @ means(width, columns).to(images).T


def means(size: int, bins: int) -> Tensor:
    """The matrix [bins, size] that takes means; bin i covers floor(i * size / bins) to ceil((i + 1) * size / bins)."""
    matrix = torch.zeros(bins, size)
    for place in range(bins):
        first, last = place * size // bins, -(-(place + 1) * size // bins)
        matrix[place, first:last] = 1 / (last - first)
    return matrix


def with_matrices(plain: Plain) -> Plain:
    """The student with its adaptive average pools replaced; the very module where it has none."""
    if not any(type(module) is nn.AdaptiveAvgPool2d for module in plain.modules()):
        return plain
    twin = copy.deepcopy(plain)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                size = child.output_size
                rows, columns = size if isinstance(size, (tuple, list)) else (size, size)
                setattr(parent, name, MatrixPool2d((rows, columns)))
    return twin
