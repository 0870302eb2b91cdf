"""The frame of a picture: horizontal grid lines with their values, values below, and what the axes mean."""

from __future__ import annotations

from collections.abc import Callable

from knowledge_distillation.reporting.plots.scales import Scale
from knowledge_distillation.reporting.plots.svg import WIDTH, rule, words

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 50.0, WIDTH - 14.0, 26.0, 196.0, 236
"""The drawing area inside a picture of WIDTH x HEIGHT."""


def axes(
    x: Scale,
    y: Scale,
    x_name: str,
    y_name: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    x_unit: float = 1.0,
) -> list[str]:
    """Grid, ticks and names; the ticks of the x axis are round in its unit."""
    parts = [words(4, 13, y_name, kind="axis-name")]
    for value in y.ticks(5):
        parts.append(rule(LEFT, y(value), RIGHT, y(value)))
        parts.append(words(LEFT - 6, y(value) + 3.8, y_text(value), anchor="end"))
    parts.append(rule(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"))
    for value in x.ticks(5, x_unit):
        parts.append(rule(x(value), BOTTOM, x(value), BOTTOM + 4, "axis"))
        parts.append(words(min(x(value), RIGHT - 4), BOTTOM + 17, x_text(value), anchor="middle"))
    parts.append(words((LEFT + RIGHT) / 2, BOTTOM + 35, x_name, anchor="middle", kind="axis-name"))
    return parts
