"""Checks and token masks for attention tensors, shape [N, heads, queries, keys]."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.inputs import check_same_shape


def check_attention(student: Tensor, teacher: Tensor, mask: Tensor | None) -> None:
    """Raise ShapeError unless both are [N, heads, queries, keys] of one shape and the mask is [N, L]."""
    check_same_shape(student, teacher, "attention")
    if student.dim() != 4:
        raise ShapeError(
            f"attention must have shape [N, heads, queries, keys], got {tuple(student.shape)}. "
            "Add a head axis with unsqueeze(1) if the heads were already summed or averaged."
        )
    samples, _, queries, keys = student.shape
    if mask is not None and not (queries == keys and mask.shape == (samples, keys)):
        raise ShapeError(
            f"a token mask must have shape [N, L] for attention [N, heads, L, L], got mask {tuple(mask.shape)} and "
            f"attention {tuple(student.shape)}. It hides queries and keys; leave it out for cross-attention."
        )


def counted_queries(mask: Tensor | None) -> Tensor | None:
    """The token mask along the query axis, shape [N, 1, L, 1]."""
    return None if mask is None else mask.bool()[:, None, :, None]


def counted_keys(mask: Tensor | None) -> Tensor | None:
    """The token mask along the key axis, shape [N, 1, 1, L]."""
    return None if mask is None else mask.bool()[:, None, None, :]
