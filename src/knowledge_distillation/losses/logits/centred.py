"""Values less their mean, safe where they are all equal."""

from __future__ import annotations

import torch
from torch import Tensor

# Differences of fewer units of rounding are taken for none: their direction would be noise, and normalising
# them would make its gradient huge.
ROUNDING = 8.0


def centred(values: Tensor, counted: Tensor, dim: int) -> Tensor:
    """The counted values less their mean along `dim`, 0 elsewhere; all 0 where they differ by rounding only.

    Args:
        values: any shape, 0 where not counted. Receives gradient, none where all are equal.
        counted: 1 where a value counts, else 0; broadcasts to the shape of `values`.
        dim: the axis to centre along.
    """
    counted = counted.to(values.dtype).expand_as(values)
    mean = (values * counted).sum(dim=dim, keepdim=True) / counted.sum(dim=dim, keepdim=True).clamp(min=1)
    differences = (values - mean) * counted
    noise = ROUNDING * torch.finfo(values.dtype).eps * length(values, dim)
    return torch.where(length(differences, dim) > noise, differences, 0.0)


def length(values: Tensor, dim: int) -> Tensor:
    """Euclidean norm along `dim`, which stays as an axis of 1; its gradient at 0 is 0."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=dim, keepdim=True)
    return norm
