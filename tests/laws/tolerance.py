"""How near is near: the one table of tolerances, by precision of the inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Errors are measured against the largest entry of what is expected, and never demanded below `floor`."""

    value: float
    gradient: float
    floor: float


EXACT = Tolerance(value=1e-9, gradient=1e-8, floor=1e-3)

# Losses compute half precision in float32, so values are as good as float32's; a gradient is stored in the
# input's own type, which leaves 11 bits (float16) or 8 bits (bfloat16) of it.
PRECISION: dict[torch.dtype, Tolerance] = {
    torch.float64: EXACT,
    torch.float32: Tolerance(value=1e-5, gradient=1e-4, floor=1e-2),
    torch.float16: Tolerance(value=1e-4, gradient=2e-3, floor=1e-2),
    torch.bfloat16: Tolerance(value=1e-4, gradient=1e-2, floor=1e-2),
}

# What the law of temperatures promises of float32 against float64.
TEMPERATURE = Tolerance(value=1e-4, gradient=1e-3, floor=1e-30)


def at_temperature(temperature: float) -> Tolerance:
    """Relative, however small a hot loss is; a cold softmax saturates, and what is left is measured against 1 / T."""
    return TEMPERATURE if temperature >= 1 else replace(TEMPERATURE, floor=1e-2 / temperature)


# Below this a loss counts as 0 at equality, and above minus this as not negative.
ZERO = 1e-9


def error(actual: Tensor, expected: Tensor, floor: float) -> float:
    """The largest difference over the largest expected entry (or the floor)."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if not expected.numel():
        return 0.0
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=floor))


def assert_near(actual: Tensor, expected: Tensor, bound: float, *, floor: float, what: str) -> None:
    found = error(actual, expected, floor)
    assert found <= bound, f"{what} is off by {found:.3g} of its size, {bound:g} is allowed"
