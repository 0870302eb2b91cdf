"""An order of samples in which those of one batch are about equally long, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL = 16
"""Batches whose samples are sorted together: more is less padding, fewer is more chance."""


class AlikeInLength(Sampler[int]):
    """All samples in an order drawn anew each time: shuffled, sorted by length in pools, and the batches shuffled.

    Args:
        lengths: of the samples, in any unit.
        batch_size: of the loader.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int) -> None:
        self.lengths, self.batch_size = list(lengths), batch_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self)).tolist()
        pool = POOL * self.batch_size
        batches = []
        for start in range(0, len(order), pool):
            alike = sorted(order[start : start + pool], key=self.lengths.__getitem__)
            batches += [alike[at : at + self.batch_size] for at in range(0, len(alike), self.batch_size)]
        short = [batch for batch in batches if len(batch) < self.batch_size]  # at most one: the end of the last pool
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        drawn = [whole[place] for place in torch.randperm(len(whole)).tolist()]
        yield from (number for batch in [*drawn, *short] for number in batch)
