"""Scaled dot products between the tokens of one sequence, split into heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.vectors import dot_products


def check_queries_keys_values(side: str, parts: Sequence[Tensor]) -> None:
    """Raise ShapeError unless `parts` are queries, keys and values, each [N, L, width]."""
    if len(parts) != 3 or any(part.dim() != 3 for part in parts):
        raise ShapeError(
            f"{side} must be the queries, keys and values of one layer, three tensors of shape [N, L, width], got "
            f"{[tuple(part.shape) for part in parts]}. Join the heads of a [N, heads, L, size] tensor first."
        )


def relation_scores(left: Tensor, right: Tensor, *, heads: int, mask: Tensor | None) -> Tensor:
    """Scores left . right / sqrt(head size) between all tokens, for each head.

    Args:
        left: shape [N, L, width]; masked tokens may hold anything.
        right: same shape.
        heads: number of equal parts that the width is cut into.
        mask: tokens, shape [N, L], or None.

    Returns:
        shape [N, heads, L, L], float32 or float64.
    """
    if left.shape != right.shape or left.shape[-1] % heads:
        raise ShapeError(
            f"The number of heads, heads or relation_heads, must divide the width of two tensors of one shape [N, L, "
            f"width], got {heads} for {tuple(left.shape)} and {tuple(right.shape)}: no head would have whole parts. "
            "Choose one that divides both widths."
        )
    queries, keys = _split_heads(left, heads, mask), _split_heads(right, heads, mask)
    return dot_products(queries, keys) / math.sqrt(queries.shape[-1])


def _split_heads(tokens: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    samples, length, width = tokens.shape
    parts = full_precision(hide_masked(tokens, mask)).reshape(samples, length, heads, width // heads)
    return parts.transpose(1, 2)
