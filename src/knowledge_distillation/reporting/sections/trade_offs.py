"""Quality against size and against latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Plots, Section
from knowledge_distillation.reporting.figures import is_share, number, plain, size
from knowledge_distillation.reporting.plots.scatter import Point, pareto_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import (
    colour,
    is_higher_better,
    latency_of,
    models_of,
    part,
    quality_of,
    size_of,
)


def trade_offs_section(files: RunFiles) -> Section | None:
    """Two pictures, each with every model whose quality and cost are known."""
    models = models_of(files)
    if not models:
        return None
    metric = quality_of(next(iter(models.values())))[0]
    batches = [batch for batch in ("1", *part(next(iter(models.values())), "cost", "latency")) if batch]
    wide = next((batch for batch in batches if batch != "1"), "")
    asked: list[tuple[str, str, Callable[[Mapping[str, Any]], Any], Callable[[float], str]]] = [
        ("Quality against size", "size", size_of, _short_size),
        ("Quality against latency", "latency of one item", latency_of, _short_time),
    ]
    if wide:
        asked.append((f"Quality against latency, batch {wide}", f"latency of a batch of {wide}",
                      lambda entry: latency_of(entry, wide), _short_time))  # fmt: skip
    plots = []
    for title, name, read, text in asked:
        points = _points(models, read)
        if len(points) > 1:
            unit = 1.0 if read is not size_of else 1024.0 ** math.floor(math.log(max(p.cost for p in points), 1024))
            share = is_share(metric, *(point.quality for point in points))
            plots.append(
                pareto_plot(
                    title,
                    points,
                    cost_name=name,
                    quality_name=metric,
                    cost_text=text,
                    quality_text=(lambda value: f"{100 * value:.1f}%") if share else plain,
                    higher_is_better=is_higher_better(next(iter(models.values()))),
                    cost_unit=unit,
                )
            )
    if not plots:
        return Section("trade-offs", "Quality against cost", [Absent("Fewer than two models have both measured.")])
    return Section("trade-offs", "Quality against cost", [Plots(plots)])


def _short_size(value: float) -> str:
    return size(value).replace(".0 ", " ")


def _short_time(value: float) -> str:
    return f"{value / 1e3:.3g} s" if value >= 1e3 else f"{value:.3g} ms"


def _points(models: Mapping[str, Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Any]) -> list[Point]:
    found = ((name, number(read(entry)), quality_of(entry)[1]) for name, entry in models.items())
    return [
        Point(name, colour(name, models), cost, quality)
        for name, cost, quality in found
        if cost is not None and quality is not None
    ]
