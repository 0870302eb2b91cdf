"""Whether a model is right as often as it is sure: accuracy in each bin of confidence, against the diagonal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowledge_distillation.reporting.blocks import Cell, Plot, Table
from knowledge_distillation.reporting.figures import count, number
from knowledge_distillation.reporting.plots.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, axes
from knowledge_distillation.reporting.plots.scales import Scale
from knowledge_distillation.reporting.plots.svg import WIDTH, element, rule

FEW = 0.01
"""Share of all items below which a bin says little: it is drawn faint, and no widest gap is looked for in it."""


def reliability_plot(title: str, bins: Sequence[Mapping[str, Any]], kind: str) -> Plot:
    """Draw the bins that hold items.

    Args:
        title: of the picture.
        bins: with low, high, confidence, accuracy from 0 to 1 and count.
        kind: colour class of the model.
    """
    across, up = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, BOTTOM, TOP)
    parts = axes(across, up, "confidence", "accuracy", _percent, _percent)
    rows, gaps = [], []
    items = sum(number(entry.get("count")) or 0.0 for entry in bins)
    for entry in bins:
        low, high, sure, right = (number(entry.get(key)) for key in ("low", "high", "confidence", "accuracy"))
        if low is None or high is None or right is None or sure is None or not entry.get("count"):
            continue
        left, end, height = across(low) + 1, across(high) - 1, BOTTOM - up(right)
        held = number(entry.get("count")) or 0.0
        faint = " few" if held < FEW * items else ""
        parts.append(element("rect", x=left, y=up(right), width=end - left, height=height, class_=f"bar {kind}{faint}"))
        rows.append(
            [
                Cell([low, high], f"{_percent(low)} to {_percent(high)}"),
                Cell(sure, f"{100 * sure:.1f}%"),
                Cell(right, f"{100 * right:.1f}%"),
                Cell(entry["count"], count(entry["count"])),
            ]
        )
        if not faint:
            gaps.append((abs(right - sure), sure, right))
    parts.append(rule(across(0), up(0), across(1), up(1), "diagonal"))
    _, sure, right = max(gaps, default=(0.0, 0.0, 0.0))
    return Plot(
        title=title,
        description=f"The widest gap: {_percent(right)} right where it is {_percent(sure)} sure. Below the dashed "
        f"line: more sure than right. Faint: fewer than {_percent(FEW)} of the items.",
        width=WIDTH,
        height=HEIGHT,
        body="".join(parts),
        table=Table(title, ["confidence", "mean confidence", "accuracy", "items"], rows),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"
