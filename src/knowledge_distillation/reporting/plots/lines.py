"""Curves over steps or severities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from knowledge_distillation.reporting.blocks import Cell, Plot, Table
from knowledge_distillation.reporting.figures import large, plain
from knowledge_distillation.reporting.plots.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, axes
from knowledge_distillation.reporting.plots.scales import scale_for
from knowledge_distillation.reporting.plots.svg import WIDTH, element, mark

MOST_POINTS = 300
ROWS = 12
Line = tuple[str, str, Sequence[tuple[float, float]]]
"""Name, CSS class, (x, y) in the order of x."""


def line_plot(
    title: str,
    lines: Sequence[Line],
    *,
    x_name: str,
    y_name: str,
    y_text: Callable[[float], str] = plain,
    marks: bool = False,
    may_be_log: bool = True,
) -> Plot:
    """Draw curves; where they are long, the lowest and the highest value of each stretch are kept.

    Args:
        title: of the picture.
        lines: at least one, each with at least one point.
        x_name, y_name: of the axes.
        y_text: writes a value of the y axis.
        marks: mark every point.
        may_be_log: logarithmic y axis where values span more than a factor of 30.
    """
    xs = [x for _, _, points in lines for x, _ in points]
    ys = [y for _, _, points in lines for _, y in points]
    across = scale_for(xs, LEFT, RIGHT, room=0.02 if len(set(xs)) > 1 else 0.5)
    up = scale_for(ys, BOTTOM, TOP, may_be_log=may_be_log)
    scale_name = " (logarithmic)" if up.logarithmic else ""
    parts = axes(across, up, x_name, y_name + scale_name, large if max(xs) >= 1000 else plain, y_text)
    for name, kind, points in lines:
        kept = thinned(points)
        places = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in kept)
        if len(kept) > 1:
            parts.append(element("polyline", points=places, class_=f"line {kind}"))
        if marks or len(kept) == 1:
            parts += [mark(across(x), up(y), kind.split()[0], f"{name}: {y_text(y)}") for x, y in kept]
    ends = "; ".join(f"{name} from {y_text(points[0][1])} to {y_text(points[-1][1])}" for name, _, points in lines)
    if len(lines) == 1:
        ends = ends.removeprefix(f"{lines[0][0]} ").capitalize()
    return Plot(
        title=title,
        description=f"{ends}.",
        width=WIDTH,
        height=HEIGHT,
        body="".join(parts),
        table=_table(title, lines, x_name, y_text),
        legend=[(name, kind) for name, kind, _ in lines] if len(lines) > 1 else (),
        marked=marks,
    )


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS points; a spike stays one."""
    if len(points) <= MOST_POINTS:
        return list(points)
    stretch = -(-len(points) // (MOST_POINTS // 2))
    kept = [points[0]]
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def _table(title: str, lines: Sequence[Line], x_name: str, y_text: Callable[[float], str]) -> Table:
    by_line = [dict(points) for _, _, points in lines]
    xs = sorted({x for points in by_line for x in points})
    if len(xs) > ROWS:
        xs = [xs[round(place * (len(xs) - 1) / (ROWS - 1))] for place in range(ROWS)]
    rows = [
        [Cell(x, plain(x)), *(Cell(found.get(x), "" if x not in found else y_text(found[x])) for found in by_line)]
        for x in xs
    ]
    return Table(title, [x_name, *(name for name, _, _ in lines)], rows)
