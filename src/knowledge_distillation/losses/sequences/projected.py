"""Logits that are not made yet: hidden states and the head that would turn them into logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import check_positive


@dataclass(frozen=True, slots=True)
class Projected:
    """softcap * tanh(scale * (hidden @ weight.T + bias) / softcap), in the place of logits [*items, classes].

    `fused_divergence` takes it for either side and never makes the whole logits.
    """

    hidden: Tensor
    """Last hidden states, after the final norm, shape [*items, width]. Gradient flows."""
    weight: Tensor
    """Of the head, shape [classes, width], as in nn.Linear. Gradient flows, unless it requires none."""
    bias: Tensor | None = None
    """Of the head, shape [classes]."""
    softcap: float | None = None
    """Bound of the logits (Gemma 2: 30), > 0; None for models without one."""
    scale: float = 1.0
    """Factor of the logits, before the softcap (Cohere: logit_scale; Granite: 1 / logits_scaling)."""

    def __post_init__(self) -> None:
        if self.weight.dim() != 2 or self.hidden.shape[-1:] != self.weight.shape[1:]:
            raise ShapeError(
                f"weight must be [classes, width] and hidden [*items, width], got {tuple(self.weight.shape)} and "
                f"{tuple(self.hidden.shape)}. Pass the weight of the output layer as nn.Linear holds it."
            )
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise ShapeError(
                f"bias must have one entry per class, {self.weight.shape[0]}, got shape {tuple(self.bias.shape)}."
            )
        if self.softcap is not None:
            check_positive("softcap", self.softcap)
        if not is_finite_number(self.scale) or self.scale == 0:
            raise ConfigError(f"scale must be a finite number other than 0, got {self.scale!r}: all logits would be 0.")

    @property
    def shape(self) -> torch.Size:
        """Of the logits: [*items, classes]."""
        return torch.Size((*self.hidden.shape[:-1], self.weight.shape[0]))
