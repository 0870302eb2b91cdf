"""Every number of a signal, exact, halved, or in eight bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, NonFiniteError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Dense:
    """Every number, in float32, bfloat16 or float16."""

    name: ClassVar[str] = "dense"
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"There is no dense encoding in {self.dtype!r}. {nearest(str(self.dtype), DTYPES)}")

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        stored = values.to(DTYPES[self.dtype])
        if bool((stored.isinf() & ~values.isinf()).any()):
            raise NonFiniteError(
                f"The teacher's values reach {values.abs().max():.3g}, and {self.dtype} ends before: they would be "
                "read as infinite. Use bfloat16 or float32."
            )
        return {"values": stored}

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> Tensor:
        return arrays["values"].float()


@dataclass(frozen=True, slots=True)
class Int8:
    """Features in eight bits, with one scale for each item and channel (axis 1): error at most 1/254 of its range."""

    name: ClassVar[str] = "int8"

    def encode(self, values: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        exact = values.float()
        axes = tuple(range(2, exact.dim())) or (1,)
        scale = exact.abs().amax(dim=axes, keepdim=True).clamp(min=1e-12) / 127
        return {"values": (exact / scale).round().to(torch.int8), "scale": scale}

    def decode(self, arrays: Mapping[str, Tensor], classes: int) -> Tensor:
        return arrays["values"].float() * arrays["scale"]
