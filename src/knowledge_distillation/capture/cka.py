"""Linear centred kernel alignment from mini-batches: how alike two layers see the same examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError

FEWEST_EXAMPLES = 4
"""The unbiased estimator divides by n - 3."""


def gram(features: Tensor) -> Tensor:
    """Inner products between the examples of a batch, float64.

    Args:
        features: shape [batch, ...]; all other axes are flattened, no gradient flows.

    Returns:
        shape [batch, batch], of the features less their mean: that changes no HSIC, and keeps digits.
    """
    flat = features.detach().flatten(1)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    flat = flat - flat.mean(dim=0)
    return (flat @ flat.T).double()


def unbiased_hsic(left: Tensor, right: Tensor) -> Tensor:
    """The unbiased estimator of the Hilbert-Schmidt independence criterion of two Gram matrices.

    With the diagonals set to 0: (trace(K L) + sum(K) sum(L) / ((n - 1)(n - 2)) - 2 sum(K L) / (n - 2)) / (n (n - 3)).

    Args:
        left: shape [n, n], symmetric, n at least 4.
        right: same shape.

    Returns:
        A scalar; its mean over batches estimates that of the whole data without bias.

    Raises:
        ShapeError: if the shapes differ or n is below 4.

    Reference: Song et al. (2012), JMLR 13; Nguyen, Raghu, Kornblith (2021), eq. 3, arXiv:2010.15327.
    """
    n = left.shape[0]
    if left.shape != right.shape or left.shape != (n, n) or n < FEWEST_EXAMPLES:
        raise ShapeError(
            f"Two Gram matrices of the same n >= {FEWEST_EXAMPLES} examples are needed, got {tuple(left.shape)} and "
            f"{tuple(right.shape)}: the estimator divides by n - 3. Use a larger batch."
        )
    hollow = 1 - torch.eye(n, dtype=left.dtype, device=left.device)
    k, l = left * hollow, right * hollow  # noqa: E741  (the paper's letters)
    cross = (k.sum(dim=0) * l.sum(dim=0)).sum()
    value = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
    return value / (n * (n - 3))


class MinibatchCKA:
    """Linear CKA of two layers over any number of batches: 1 for the same geometry, about 0 for none in common.

    mean HSIC(K, L) / sqrt(mean HSIC(K, K) * mean HSIC(L, L)), with the unbiased HSIC of each batch.

    Example:
        >>> features = torch.tensor([[1.0, 0], [0, 1], [2, 1], [3, 5], [1, 4]])
        >>> cka = MinibatchCKA()
        >>> cka.add(gram(features), gram(features * 3))
        >>> round(cka.value(), 6)
        1.0

    Reference: Kornblith, Norouzi, Lee, Hinton (2019), eq. 4, arXiv:1905.00414; the mini-batch form is
        Nguyen, Raghu, Kornblith (2021), eq. 2-3, arXiv:2010.15327.
    """

    def __init__(self) -> None:
        self._sums = [0.0, 0.0, 0.0]

    def add(self, left: Tensor, right: Tensor) -> None:
        """Count one batch in.

        Args:
            left: the first layer's Gram matrix, shape [batch, batch], batch at least 4; see `gram`.
            right: the second layer's, of the same examples.

        Raises:
            ShapeError: if the shapes differ, or there are fewer than 4 examples.
        """
        right = right.to(left.device)
        for place, (first, second) in enumerate(((left, right), (left, left), (right, right))):
            self._sums[place] += float(unbiased_hsic(first, second))

    def value(self) -> float:
        """The estimate so far; NaN when a layer gave the same for every example, or no batch came."""
        cross, left, right = self._sums
        return cross / math.sqrt(left * right) if left > 0 and right > 0 else math.nan
