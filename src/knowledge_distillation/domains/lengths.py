"""The order of an epoch in which texts, or recordings, of similar length stand in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

GROUP = 50
"""Batches within which samples are sorted: more would leave less padding and less chance in who meets whom."""


class SimilarLengths(Sampler[int]):
    """Numbers of samples, shuffled anew every epoch so that those of one batch have about the same length.

    A batch is padded to its longest sample, and padding costs as much as content. All are shuffled, sorted by length
    within every group of `GROUP` batches, and the batches are shuffled. Transformers' `LengthGroupedSampler` leaves the
    batches of a group in falling order, so that training ends on the short texts of the last one.

    It draws from torch's generator. Several processes share samples in an order of their own, and this one is left out.

    Args:
        lengths: of each sample, in any unit.
        batch_size: of the loader.

    Example:
        >>> order = list(SimilarLengths([3, 9, 3, 9, 3, 9], 3))
        >>> sorted(sorted(sample % 2 for sample in order[at : at + 3]) for at in (0, 3))
        [[0, 0, 0], [1, 1, 1]]
    """

    def __init__(self, lengths: Sequence[float], batch_size: int) -> None:
        self.lengths = torch.tensor(list(lengths))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths))
        batches: list[torch.Tensor] = []
        for group in torch.split(order, self.batch_size * GROUP):
            batches += torch.split(group[self.lengths[group].argsort(stable=True)], self.batch_size)
        # a short batch elsewhere would shift others
        last = batches.pop() if len(order) % self.batch_size else order[:0]
        for place in torch.randperm(len(batches)).tolist():
            yield from batches[place].tolist()
        yield from last.tolist()
