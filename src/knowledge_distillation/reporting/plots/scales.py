"""Numbers to places: linear and logarithmic scales with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

FACTOR_FOR_LOG = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from low to high onto places from start to end."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5, unit: float = 1.0) -> list[float]:
        """Values inside the scale that are round in the unit."""
        low, high = self.low / unit, self.high / unit
        if self.logarithmic:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
                round_ones = [factor * 10.0**power for power in powers for factor in factors]
                inside = [value * unit for value in round_ones if low <= value <= high]
                if len(inside) >= 3:
                    return inside[:: math.ceil(len(inside) / (about + 1))]
        step = _round_step((high - low) / max(1, about - 1))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [round(place * step, 12) * unit for place in range(first, last + 1)]


def scale_for(
    values: Iterable[float], start: float, end: float, *, room: float = 0.06, may_be_log: bool = False
) -> Scale:
    """A scale that holds all values with some room at both ends.

    Args:
        values: at least one finite number.
        start, end: places of the lowest and the highest value.
        room: share of the span that is left free at each end.
        may_be_log: logarithmic where all values are above 0 and span more than a factor of 30.
    """
    kept = list(values)
    low, high = min(kept), max(kept)
    if may_be_log and low > 0 and high / low > FACTOR_FOR_LOG:
        factor = (high / low) ** room
        return Scale(low / factor, high * factor, start, end, logarithmic=True)
    span = high - low or abs(high) * 0.1 or 1.0
    return Scale(low - room * span, high + room * span, start, end)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
