"""Numbers of few bits in rows of bytes, and sets of ids as Elias-Fano codes."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(bits: Tensor) -> Tensor:
    """Eight bits a byte, the first the lowest.

    Args:
        bits: 0 or 1, shape [rows, count].

    Returns:
        uint8, shape [rows, ceil(count / 8)].
    """
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -bits.shape[-1] % 8))
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (padded.view(*padded.shape[:-1], -1, 8) * weights).sum(-1, dtype=torch.uint8)


def unpack(packed: Tensor, count: int) -> Tensor:
    """The first `count` bits of each row of bytes, uint8, shape [rows, count]."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed.unsqueeze(-1) >> places) & 1).flatten(-2)[..., :count]


def to_bits(numbers: Tensor, width: int) -> Tensor:
    """Numbers below 2**width as bits, the lowest first: [rows, n] -> uint8 [rows, n * width]."""
    places = torch.arange(width, device=numbers.device)
    return ((numbers.unsqueeze(-1) >> places) & 1).flatten(-2).to(torch.uint8)


def from_bits(bits: Tensor, width: int) -> Tensor:
    """The numbers that `to_bits` took apart: uint8 [rows, n * width] -> int64 [rows, n]."""
    places = torch.arange(width, device=bits.device)
    return (bits.reshape(*bits.shape[:-1], -1, width).long() << places).sum(-1)


class IdSet:
    """Sets of k ids below a bound, about 2 + log2(bound / k) bits an id: order costs nothing, as none is kept.

    The low bits of the ids stand as they are; the high bits, which rise along the sorted ids, as one bit a step.

    Args:
        bound: ids are from 0 to bound - 1.
        k: ids a set.

    Reference: Elias (1974), Efficient storage and retrieval by content and address of static files, JACM 21(2).
    """

    def __init__(self, bound: int, k: int) -> None:
        self.k = k
        self.low = max(0, (bound // k).bit_length() - 1)
        self.high = k + ((bound - 1) >> self.low)
        self.bits = k * self.low + self.high

    def encode(self, ids: Tensor) -> Tensor:
        """Sorted ids, int64 [rows, k] -> bits, uint8 [rows, self.bits]."""
        low = to_bits(ids & ((1 << self.low) - 1), self.low)
        steps = (ids >> self.low) + torch.arange(self.k, device=ids.device)
        high = torch.zeros(len(ids), self.high, dtype=torch.uint8, device=ids.device).scatter_(1, steps, 1)
        return torch.cat([low, high], dim=1)

    def decode(self, bits: Tensor) -> Tensor:
        """The sorted ids, int64 [rows, k]."""
        low, high = torch.split(bits, [self.k * self.low, self.high], dim=1)
        steps = high.nonzero()[:, 1].view(-1, self.k) - torch.arange(self.k, device=bits.device)
        if not self.low:
            return steps
        return (steps << self.low) | from_bits(low, self.low)
