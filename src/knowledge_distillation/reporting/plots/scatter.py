"""Quality against what it costs: a mark for each model, and the line of those that nothing beats in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowledge_distillation.reporting.blocks import Cell, Plot, Table
from knowledge_distillation.reporting.plots.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, axes
from knowledge_distillation.reporting.plots.scales import scale_for
from knowledge_distillation.reporting.plots.svg import LETTER, WIDTH, cut, element, mark, words


@dataclass(frozen=True, slots=True)
class Point:
    """A model: its name, its colour class, what it costs and how good it is."""

    name: str
    kind: str
    cost: float
    quality: float


def pareto_plot(
    title: str,
    points: Sequence[Point],
    *,
    cost_name: str,
    quality_name: str,
    cost_text: Callable[[float], str],
    quality_text: Callable[[float], str],
    higher_is_better: bool,
) -> Plot:
    """Draw the models; the lower the cost, the further left."""
    across = scale_for([point.cost for point in points], LEFT, RIGHT, room=0.14, may_be_log=True)
    up = scale_for([point.quality for point in points], BOTTOM, TOP, room=0.16)
    scale_name = " (logarithmic)" if across.logarithmic else ""
    parts = axes(across, up, cost_name + scale_name, quality_name, cost_text, quality_text)
    front = unbeaten(points, higher_is_better)
    places = " ".join(f"{across(point.cost):.1f},{up(point.quality):.1f}" for point in front)
    if len(front) > 1:
        parts.append(element("polyline", points=places, class_="front"))
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: up(point.quality)):
        x, y = across(point.cost), up(point.quality)
        tip = f"{point.name}: {quality_text(point.quality)}, {cost_text(point.cost)}"
        parts.append(mark(x, y, point.kind, tip))
        below = y + 4
        while any(abs(below - other) < 13 and abs(x - place) < 110 for place, other in taken):
            below += 13
        taken.append((x, below))
        name = cut(point.name, 120)
        right = x + 10 + LETTER * len(name) < WIDTH
        parts.append(words(x + 10 if right else x - 10, below, name, anchor="start" if right else "end", kind="label"))
    names = ", ".join(point.name for point in front)
    return Plot(
        title=title,
        description=f"No model is both better and cheaper than: {names}.",
        width=WIDTH,
        height=HEIGHT,
        body="".join(parts),
        table=Table(
            title,
            ["model", quality_name, cost_name],
            [
                [
                    Cell(point.name, point.name),
                    Cell(point.quality, quality_text(point.quality)),
                    Cell(point.cost, cost_text(point.cost)),
                ]
                for point in points
            ],
        ),
    )


def unbeaten(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The models to which no other is better at no more cost, by rising cost."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -sign * point.quality)):
        if not front or sign * point.quality > sign * front[-1].quality:
            front.append(point)
    return front
