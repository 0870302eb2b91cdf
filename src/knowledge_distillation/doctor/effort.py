"""How large a look is cheap enough to come before every training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LARGEST = 1_000_000_000
"""Parameters in all from which on no model is asked on a CPU in the quick form."""
LEAST_ITEMS, MOST_ITEMS = 8, 128
OPERATIONS = 3e11
"""Floating-point operations that a question may cost in the quick form: a few seconds on two CPU cores."""


def too_large(models: Iterable[nn.Module]) -> bool:
    """Whether asking the models takes too long for the quick form: they lie on a CPU and are very large."""
    parameters = [parameter for model in models for parameter in model.parameters() if parameter.device.type == "cpu"]
    return sum(parameter.numel() for parameter in parameters) > LARGEST


def affordable(ask_about_one: Iterable[Callable[[], object]]) -> int:
    """How many items a question may have, from 8 to 128, by the operations that one item costs.

    The number depends on models and data alone, never on the machine: the same training gets the same findings.

    Args:
        ask_about_one: asks each model about a single item.
    """
    operations = 0
    for ask in ask_about_one:
        with suppress(Exception), FlopCounterMode(display=False) as counter:  # what raises does so again when asked
            ask()
        operations += counter.get_total_flops()
    return int(min(MOST_ITEMS, max(LEAST_ITEMS, OPERATIONS / max(operations, 1))))
