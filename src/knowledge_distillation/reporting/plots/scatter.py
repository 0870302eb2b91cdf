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
    cost_unit: float = 1.0,
) -> Plot:
    """Draw the models; the lower the cost, the further left."""
    across = scale_for([point.cost for point in points], LEFT, RIGHT, room=0.14, may_be_log=True)
    up = scale_for([point.quality for point in points], BOTTOM, TOP, room=0.16)
    scale_name = " (logarithmic)" if across.logarithmic else ""
    parts = axes(across, up, cost_name + scale_name, quality_name, cost_text, quality_text, cost_unit)
    front = unbeaten(points, higher_is_better)
    places = " ".join(f"{across(point.cost):.1f},{up(point.quality):.1f}" for point in front)
    if len(front) > 1:
        parts.append(element("polyline", points=places, class_="front"))
    places_of = [(across(point.cost), up(point.quality)) for point in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places_of]
    for point, (x, y) in zip(points, places_of, strict=True):
        parts.append(mark(x, y, point.kind, f"{point.name}: {quality_text(point.quality)}, {cost_text(point.cost)}"))
        parts.append(_label(x, y, cut(point.name, 120), taken))
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


def _label(x: float, y: float, name: str, taken: list[tuple[float, float, float, float]]) -> str:
    """The name beside its mark, where nothing stands yet; `taken` are the boxes that are not free."""
    width = LETTER * len(name)
    spots = [(x + 10, y + 4, "start"), (x - 10, y + 4, "end"), (x, y - 10, "middle"), (x, y + 18, "middle")]
    spots += [(x + 10, y + 4 + 13 * row, "start") for row in (1, -1, 2, -2, 3)]
    best = spots[0]
    for at, base, anchor in spots:
        left = at - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, base - 10, left + width, base + 3)
        inside = left >= LEFT and box[2] <= WIDTH and box[1] >= TOP - 8 and box[3] <= BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            best = (at, base, anchor)
            taken.append(box)
            break
    return words(best[0], best[1], name, anchor=best[2], kind="label")


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def unbeaten(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The models to which no other is better at no more cost, by rising cost."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -sign * point.quality)):
        if not front or sign * point.quality > sign * front[-1].quality:
            front.append(point)
    return front
