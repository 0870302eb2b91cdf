"""What every encoding of a teacher's signals can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

DEEPEST = 32.0
"""Nats below which a log-probability counts as this."""


class Encoding(Protocol):
    """Turns values [items, *shape] into arrays [items, ...] to store, and back."""

    name: ClassVar[str]

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What is stored; `generator` is for encodings that sample."""

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> Any:
        """What the losses read, on the arrays' device; `classes` is the length of the values' last axis."""
