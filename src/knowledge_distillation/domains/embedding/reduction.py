"""Principal axes of embeddings: the fewer dimensions that keep their cosines best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.domains.embedding.encoding import embedded
from knowledge_distillation.errors import ConfigError

MOST_TEXTS = 4096
"""Some ten for each dimension, in seconds."""


def principal_axes(model: nn.Module, dimensions: int, rows: Sequence[Sequence[int]]) -> Tensor:
    """The directions in which embeddings of real texts differ most from zero.

    They are the leading eigenvectors of the mean of e e^T over unit embeddings e. Nothing is subtracted first: of all
    linear maps to so few dimensions this one keeps the matrix of dot products best in squares (Eckart and Young 1936),
    and after a plain PCA, without its mean, cosines would be others.

    Args:
        model: token ids and mask -> embeddings, shape [texts, width].
        dimensions: how many, 1 to width.
        rows: token ids of texts; of more than 4,096 every n-th is taken.

    Returns:
        Orthonormal rows, float32 [dimensions, width], the most important first; the largest entry of each is positive.

    Raises:
        ConfigError: if there are fewer texts than dimensions.
    """
    if len(rows) < dimensions:
        raise ConfigError(
            f"To find {dimensions} axes of embeddings there must be at least as many training texts, better ten times "
            f"as many, and there are {len(rows)}. Give more text, or choose fewer dimensions."
        )
    some = rows[:: max(1, len(rows) // MOST_TEXTS)][:MOST_TEXTS]
    units = torch.nn.functional.normalize(embedded(model, some), dim=-1).double()
    vectors = torch.linalg.eigh(units.T @ units / len(units)).eigenvectors
    axes: Tensor = vectors.T.flip(0)[:dimensions]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return torch.mul(axes, largest.sign()).float()
