"""The likeliest classes of a teacher: four bytes each, in any number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.losses import TopK
from knowledge_distillation.losses.inputs import check_positive, log_probabilities
from knowledge_distillation.teachers.cache.encodings.encoding import DEEPEST


@dataclass(frozen=True, slots=True)
class LikeliestClasses:
    """The exact ids of the k likeliest classes with log-probabilities of a fixed step, in four bytes each.

    A word holds the id in its upper bits and -log p in steps of 32 / 2**bits nats in the rest: 15 bits and an error of
    at most 0.0005 nats up to 131,072 classes; what is below -32 nats reads as -32. What the k leave to 1 is the mass
    of the tail.

    Args:
        k: classes to keep.
        temperature: at which the probabilities are taken; a loss must read them at the same.
    """

    name: ClassVar[str] = "top_k"
    k: int = 64
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_whole("k", self.k)
        check_positive("temperature", self.temperature)

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shift, step = _word(values.shape[-1])
        kept, ids = log_probabilities(values, self.temperature).topk(min(self.k, values.shape[-1]), dim=-1)
        codes = (-kept / step).round().clamp(max=2**shift - 1).long()
        words = (ids << shift) | codes
        return {"words": torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)}

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> TopK:
        shift, step = _word(classes)
        words = arrays["words"]
        ids = (words >> shift).bitwise_and_(2 ** (32 - shift) - 1)
        log_probs = (words & (2**shift - 1)).float().mul_(-step)
        return TopK(indices=ids, log_probs=log_probs, temperature=self.temperature)


def _word(classes: int) -> tuple[int, float]:
    """How many bits of a word of 32 are left to the probability, and the nats that one step of it means."""
    left = 32 - max(1, (classes - 1).bit_length())
    left = min(left, 16)
    return left, DEEPEST / 2**left
