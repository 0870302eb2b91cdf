"""The likeliest classes of a teacher as a set, and a level of probability for each: two bytes a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.losses import TopK
from knowledge_distillation.losses.inputs import LOWEST_LOGIT, check_positive, log_probabilities
from knowledge_distillation.teachers.cache.bits import IdSet, from_bits, pack, to_bits, unpack
from knowledge_distillation.teachers.cache.encodings.encoding import DEEPEST


@dataclass(frozen=True, slots=True)
class CompactLikeliestClasses:
    """The exact ids of the k likeliest classes as a set, and 16 levels of probability: 110 bytes for 50 of 128k.

    Sets need no order, which saves what the levels cost. Levels are even between the log-probabilities of the first
    and the last of the k; the mass of the tail is stored in eight bits, and the k rescaled to the rest.

    Args:
        k: classes to keep.
        temperature: as of "top_k".
    """

    name: ClassVar[str] = "compact_top_k"
    k: int = 50
    temperature: float = 1.0
    LEVEL_BITS: ClassVar[int] = 4

    def __post_init__(self) -> None:
        check_whole("k", self.k)
        check_positive("temperature", self.temperature)

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        classes = values.shape[-1]
        ids = IdSet(classes, k := min(self.k, classes))
        log_probs = log_probabilities(values, self.temperature)
        kept, indices = log_probs.topk(k, dim=-1)
        tail = log_probs.scatter(-1, indices, LOWEST_LOGIT).logsumexp(dim=-1, keepdim=True)
        indices, order = indices.sort(dim=-1)
        kept = kept.clamp(min=-DEEPEST).gather(-1, order)
        top = kept.amax(dim=-1, keepdim=True)
        span = _to_byte((top - kept.amin(dim=-1, keepdim=True)) / DEEPEST)
        step = _from_byte(span) * DEEPEST / (2**self.LEVEL_BITS - 1)
        levels = ((top - kept) / step.clamp(min=1e-6)).round().clamp(0, 2**self.LEVEL_BITS - 1).long()
        bits = [ids.encode(indices), to_bits(levels, self.LEVEL_BITS)]
        bits += [to_bits(span, 8), to_bits(_odds_to_byte(tail), 8)]
        return {"bits": pack(torch.cat(bits, dim=1))}

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> TopK:
        ids = IdSet(classes, k := min(self.k, classes))
        parts = [ids.bits, k * self.LEVEL_BITS, 8, 8]
        members, levels, span, tail = torch.split(unpack(arrays["bits"], sum(parts)), parts, dim=1)
        step = _from_byte(from_bits(span, 8)) * DEEPEST / (2**self.LEVEL_BITS - 1)
        odds = _odds_from_byte(from_bits(tail, 8))
        rest = torch.nn.functional.logsigmoid(-odds)
        log_probs = torch.log_softmax(from_bits(levels, self.LEVEL_BITS) * -step, dim=-1) + rest
        log_tail = torch.nn.functional.logsigmoid(odds).squeeze(-1)
        return TopK(indices=ids.decode(members), log_probs=log_probs, log_tail=log_tail, temperature=self.temperature)


def _to_byte(share: Tensor) -> Tensor:
    return (share.clamp(0, 1) * 255).round().long()


def _from_byte(code: Tensor) -> Tensor:
    return code.float() / 255


def _odds_to_byte(log_mass: Tensor) -> Tensor:
    """Log-odds of a mass from -12 to 12 in 255 steps; 0 stands for no mass at all."""
    odds = log_mass - torch.log(-torch.expm1(log_mass.clamp(max=-1e-7)))
    code = 1 + ((odds.clamp(-12, 12) + 12) * 254 / 24).round().long()
    return code.masked_fill(log_mass < LOWEST_LOGIT / 10, 0)


def _odds_from_byte(code: Tensor) -> Tensor:
    return ((code - 1).float() * 24 / 254 - 12).masked_fill(code == 0, -torch.inf)
