"""What is to be computed, apart from the tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from knowledge_distillation.kernels.softening import full_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """What a model does to the scores of its head: softcap * tanh(scale * scores / softcap)."""

    scale: float = 1.0
    softcap: float | None = None
    """None leaves the scaled scores as they are."""

    def apply(self, scores: Tensor) -> Tensor:
        """Logits from scores [rows, classes], in float32 or float64."""
        logits = full_precision(scores)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def gradient(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """The gradient of the scores from that of the logits that `apply` gave."""
        if self.softcap is not None:
            gradient = gradient * (1.0 - (logits / self.softcap) ** 2)
        return gradient if self.scale == 1.0 else gradient * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A divergence at a temperature, between two models."""

    divergence: str
    """A name of `slopes.SLOPES`."""
    share: float = 0.0
    """Of one side in the mixture, for the divergences that have one."""
    temperature: float = 1.0
    student: Shaping = field(default_factory=Shaping)
    teacher: Shaping = field(default_factory=Shaping)
