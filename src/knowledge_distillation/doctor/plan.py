"""How a training that has not begun is meant to go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the training is meant to go; names and meaning are those of `distill`."""

    objective: Any = "kd"
    pipeline: Any = None
    adapter: Any = "auto"
    temperature: float = 1.0
    optimizer: Any = "adamw"
    learning_rate: float = 1e-3
    schedule: Any = ""
    max_epochs: int = 10
    warm_up_epochs: float = 0.0
    trainer: Mapping[str, Any] = field(default_factory=dict)
    teacher_score: float | None = None
