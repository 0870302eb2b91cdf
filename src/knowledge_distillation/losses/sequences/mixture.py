"""The share of one side in a mixture of two distributions."""

from __future__ import annotations

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.errors import ConfigError


def check_share(name: str, value: float) -> float:
    """Return `value` if it is a number strictly between 0 and 1, else raise ConfigError naming it."""
    if not is_finite_number(value) or not 0.0 < value < 1.0:
        raise ConfigError(
            f"{name} must be a number above 0 and below 1, got {value!r}: without its share of one side the "
            "mixture is the other side alone. Use forward_kl or reverse_kl for that."
        )
    return float(value)
