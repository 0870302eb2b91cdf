"""Logits made ready for a softmax: full precision, softened, and without infinities."""

from __future__ import annotations

import torch
from torch import Tensor

# Above this temperature the softened distributions differ by less than float32 resolves once multiplied by
# the squared temperature; the divergence is then taken in float64.
FLOAT64_FROM_TEMPERATURE = 8.0
# Stands for -inf after softening: exp() of it is 0 and products with 0 stay finite, in value and gradient.
LOWEST_LOGIT = -1e30


def full_precision(tensor: Tensor) -> Tensor:
    """Upcast float16 and bfloat16 to float32; leave float32 and float64 alone."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def softened(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """logits / temperature, ready for a softmax: half precision in float32, high temperatures in float64.

    -inf becomes LOWEST_LOGIT. A temperature with gradient gets none from classes at -inf.
    """
    scores = full_precision(logits)
    if isinstance(temperature, Tensor):
        return scores.clamp(min=LOWEST_LOGIT) / temperature
    if temperature > FLOAT64_FROM_TEMPERATURE and scores.device.type != "mps":
        scores = scores.double()
    return (scores if temperature == 1.0 else scores / temperature).clamp(min=LOWEST_LOGIT)
