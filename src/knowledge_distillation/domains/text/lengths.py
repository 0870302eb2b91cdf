"""The order of an epoch in which texts of similar length stand in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

GROUP = 50
"""Batches within which rows are sorted: more would leave less padding and less chance in who meets whom."""


class SimilarLengths(Sampler[int]):
    """Numbers of rows, shuffled anew every epoch so that the rows of one batch have about the same length.

    A batch is padded to its longest row, and padding costs as much as text. All rows are shuffled, sorted by length
    within every group of `GROUP` batches, and the batches are shuffled. Transformers' `LengthGroupedSampler` leaves the
    batches of a group in falling order, so that training ends on the short texts of the last one.

    It draws from torch's generator. Several processes share rows in an order of their own, and this one is left out.

    Args:
        lengths: tokens of each row.
        batch_size: rows a batch.

    Example:
        >>> order = list(SimilarLengths([3, 9, 3, 9, 3, 9], 3))
        >>> sorted(sorted(row % 2 for row in order[at : at + 3]) for at in (0, 3))
        [[0, 0, 0], [1, 1, 1]]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int) -> None:
        self.lengths = torch.tensor(list(lengths))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths))
        batches: list[torch.Tensor] = []
        for rows in torch.split(order, self.batch_size * GROUP):
            batches += torch.split(rows[self.lengths[rows].argsort(stable=True)], self.batch_size)
        last = (
            batches.pop() if len(order) % self.batch_size else order[:0]
        )  # a short batch elsewhere would shift others
        for place in torch.randperm(len(batches)).tolist():
            yield from batches[place].tolist()
        yield from last.tolist()
