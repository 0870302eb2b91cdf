"""What every encoding of a teacher's signals can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError

DEEPEST = 32.0
"""Nats below which a log-probability counts as this."""


class Encoding(Protocol):
    """Turns values [items, *shape] into arrays [items, ...] to store, and back."""

    name: ClassVar[str]

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What is stored; `generator` is for encodings that sample."""

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> Any:
        """What the losses read, on the arrays' device; `classes` is the length of the values' last axis."""


def check_count(name: str, value: Any) -> None:
    """Raise ConfigError unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}.")
