"""Parts of a batch: some of its samples, in the form of the whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.teachers.cache import TaughtBatch


def samples_of(batch: Any) -> int:
    """How many samples a batch has: the first axis of its tensors.

    Raises:
        ModelContractError: if its tensors do not agree, or there are none, so that it cannot be cut.
    """
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    lengths: list[int] = []

    def look(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.dim():
            lengths.append(len(leaf))
        return leaf

    map_leaves(content, look)
    if not lengths or set(lengths) != {lengths[0]}:
        raise ModelContractError(
            f"To be cut into parts, a batch must hold tensors with one row for each sample, and the first axes of its "
            f"tensors are {lengths or 'none'}. Use a smaller batch_size with accumulate_grad_batches instead."
        )
    return lengths[0]


def part_of(batch: Any, start: int, stop: int) -> Any:
    """The samples from `start` up to `stop` of a batch with `samples_of(batch)` of them."""
    samples = samples_of(batch)

    def cut(leaf: Any) -> Any:
        has_rows = (isinstance(leaf, Tensor) and leaf.dim()) or isinstance(leaf, (list, tuple))
        return leaf[start:stop] if has_rows and len(leaf) == samples else leaf

    if isinstance(batch, TaughtBatch):
        return TaughtBatch(map_leaves(batch.content, cut), batch.answers.part(start, stop))
    return map_leaves(batch, cut)
