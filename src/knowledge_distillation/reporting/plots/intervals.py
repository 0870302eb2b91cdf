"""Differences with their intervals around zero, and the pairs that they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowledge_distillation.reporting.blocks import Cell, Plot, Table
from knowledge_distillation.reporting.plots.scales import scale_for
from knowledge_distillation.reporting.plots.svg import cut, element, mark, rule, words

ROW = 42
NARROW = 300
"""These pictures stand within a card within a card; on a phone that leaves them so much."""
Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference and its interval; positive is better."""

    name: str
    mean: float
    low: float
    high: float


def interval_plot(title: str, intervals: Sequence[Interval], *, unit: str, text: Write) -> Plot:
    """A bar from low to high for each interval, against the line of no difference."""
    ends = [0.0, *(end for interval in intervals for end in (interval.low, interval.high))]
    across = scale_for(ends, 16, NARROW - 16)
    bottom = 14 + ROW * len(intervals)
    parts = []
    for value in across.ticks(6):
        parts.append(rule(across(value), 8, across(value), bottom, "zero" if value == 0 else "grid"))
        parts.append(words(across(value), bottom + 15, text(value) if value else "0", anchor="middle"))
    for place, interval in enumerate(intervals):
        y = 36 + ROW * place
        kind = "good" if interval.low > 0 else "bad" if interval.high < 0 else "unsure"
        parts.append(rule(across(interval.low), y, across(interval.high), y, f"span {kind}"))
        parts.append(element("circle", cx=across(interval.mean), cy=float(y), r=6, class_=f"middle {kind}"))
        parts.append(words(16, y - 13, f"{cut(interval.name, 200)}: {text(interval.mean)}", kind="label"))
    parts.append(
        words(NARROW / 2, bottom + 32, f"difference, {unit} (right: better)", anchor="middle", kind="axis-name")
    )
    said = "; ".join(f"{i.name} {text(i.mean)}, from {text(i.low)} to {text(i.high)}" for i in intervals)
    rows = [
        [Cell(i.name, i.name), Cell(i.mean, text(i.mean)), Cell(i.low, text(i.low)), Cell(i.high, text(i.high))]
        for i in intervals
    ]
    return Plot(
        title=title,
        description=f"{said[0].upper()}{said[1:]}.",
        width=NARROW,
        height=bottom + 40,
        body="".join(parts),
        table=Table(title, ["comparison", f"mean, {unit}", "low", "high"], rows),
    )


def pairs_plot(
    title: str,
    seeds: Sequence[object],
    arms: Sequence[tuple[str, str, Sequence[float]]],
    text: Write,
    *,
    description: str,
) -> Plot:
    """A row for each seed with a mark for each arm (name, colour class, values)."""
    across = scale_for([value for _, _, values in arms for value in values], 70, NARROW - 20)
    bottom = 14 + 24 * len(seeds)
    parts = []
    for value in across.ticks(4):
        parts.append(rule(across(value), 8, across(value), bottom))
        parts.append(words(across(value), bottom + 15, text(value), anchor="middle"))
    for place, seed in enumerate(seeds):
        y = 24.0 + 24 * place
        found = [values[place] for _, _, values in arms]
        parts.append(words(4, y + 4, cut(f"seed {seed}", 66), kind="label"))
        parts.append(rule(across(min(found)), y, across(max(found)), y, "link"))
        parts += [mark(across(values[place]), y, kind, f"{name}: {text(values[place])}") for name, kind, values in arms]
    rows = [
        [Cell(seed, str(seed)), *(Cell(values[place], text(values[place])) for _, _, values in arms)]
        for place, seed in enumerate(seeds)
    ]
    return Plot(
        title=title,
        description=description,
        width=NARROW,
        height=bottom + 24,
        body="".join(parts),
        table=Table(title, ["seed", *(name for name, _, _ in arms)], rows),
        legend=[(name, kind) for name, kind, _ in arms],
        marked=True,
    )
