"""Classes drawn from a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.losses.inputs import check_positive, log_probabilities


@dataclass(frozen=True, slots=True)
class SampledClasses:
    """Classes drawn from the teacher's distribution: few bytes, and no class is left out on average.

    For the loss "sampled_cross_entropy", whose mean over the draws is the forward KL with the full teacher, up to the
    teacher's entropy. Other losses are biased on draws.

    Args:
        draws: how many, with repeats; 12 in the paper. Four bytes each.
        temperature: at which the probabilities are taken.

    Reference: Anshumann et al. (2025), Sparse Logit Sampling, arXiv:2503.16870.
    """

    name: ClassVar[str] = "sampled"
    draws: int = 12
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_whole("draws", self.draws)
        check_positive("temperature", self.temperature)

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        probabilities = log_probabilities(values, self.temperature).exp().cpu()
        drawn = torch.multinomial(probabilities, self.draws, replacement=True, generator=generator)
        return {"ids": drawn.to(torch.int32)}

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> Tensor:
        return arrays["ids"].long()
