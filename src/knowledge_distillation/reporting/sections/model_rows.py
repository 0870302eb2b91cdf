"""The rows of the table of models: one for each figure, a cell for each model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from knowledge_distillation.reporting.blocks import Cell
from knowledge_distillation.reporting.figures import (
    ABSENT,
    change,
    count,
    is_share,
    large,
    milliseconds,
    number,
    plain,
    ratio,
    score,
    short,
    size,
    times,
)
from knowledge_distillation.reporting.sections.evaluated import part, quality_of

Write = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.

    Attributes:
        name: of the figure.
        path: keys that lead to it within a model's figures.
        text: writes a value.
        against: writes (the teacher's value, this one) below it, or None.
    """

    name: str
    path: tuple[str, ...]
    text: Write
    against: Callable[[float, float], str] | None = None

    def row(self, models: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
        """The figure of every model."""
        values = {name: number(part(entry, *self.path[:-1]).get(self.path[-1])) for name, entry in models.items()}
        reference = values.get("teacher")
        row = [Cell(self.name, self.name)]
        for name, value in values.items():
            compared = self.against is not None and value is not None and reference is not None and name != "teacher"
            below = self.against(reference, value) if compared else ""  # type: ignore[misc, arg-type]
            row.append(Cell(value, ABSENT if value is None else self.text(value), below))
        return row


def rows_of(models: Mapping[str, Mapping[str, Any]], fidelity: Mapping[str, Any]) -> list[list[Cell]]:
    """The rows of everything that was measured of at least one model.

    Args:
        models: name -> its part of the evaluation.
        fidelity: name -> how it follows the teacher.
    """
    entries = {name: {**entry, "fidelity": part(fidelity, name)} for name, entry in models.items()}
    rows = [figure.row(entries) for figure in _figures(entries)]
    return [row for row in rows if any(cell.value is not None for cell in row[1:])]


def _figures(models: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    metric = quality_of(next(iter(models.values())))[0]
    share = is_share(metric, *(quality_of(entry)[1] for entry in models.values()))
    yield Figure(metric, ("quality", "value"), partial(score, metric), partial(_apart, share))
    for name in _keys(models, "also"):
        yield Figure(name, ("also", name), partial(score, name))
    for name in _keys(models, "loaders"):
        yield Figure(f"{metric} on {short(name)}", ("loaders", name, "value"), partial(score, metric))
    yield Figure("agreement with the teacher", ("fidelity", "agreement"), partial(score, "agreement"))
    overlaps = (part(entry, "fidelity", "top_k_overlap").get("k") for entry in models.values())
    k = next((k for k in overlaps if k), "k")
    yield Figure(f"overlap of the {k} highest classes", ("fidelity", "top_k_overlap", "value"), partial(score, "top"))
    yield Figure("KL from the teacher, nats", ("fidelity", "kl"), plain)
    yield Figure("squared difference from the teacher", ("fidelity", "mse"), plain)
    yield Figure("calibration error (ECE)", ("calibration", "ece"), _four_places)
    yield Figure("ECE after temperature scaling", ("calibration", "ece_after"), _four_places)
    yield Figure("parameters", ("cost", "parameters"), count, _factor)
    yield Figure("size in memory", ("cost", "bytes"), size, _factor)
    yield Figure("size of the file", ("cost", "file_bytes"), size, _factor)
    yield Figure("FLOPs an item", ("cost", "flops"), large, _factor)
    yield Figure("peak memory", ("cost", "peak_memory_bytes"), size, _factor)
    for batch in _keys(models, "cost", "latency"):
        place = ("cost", "latency", batch)
        yield Figure(f"latency p50, batch {batch}", (*place, "p50_ms"), milliseconds, _factor)
        yield Figure(f"latency p95, batch {batch}", (*place, "p95_ms"), milliseconds)
        yield Figure(f"latency p99, batch {batch}", (*place, "p99_ms"), milliseconds)
        yield Figure(f"items a second, batch {batch}", (*place, "items_per_second"), _rate)
    yield Figure("energy an item, J", ("cost", "energy", "joules_per_item"), plain, _factor)


def _keys(models: Mapping[str, Mapping[str, Any]], *path: str) -> list[str]:
    """The keys that any model has at a path, in their order."""
    return list(dict.fromkeys(str(key) for entry in models.values() for key in part(entry, *path)))


def _apart(share: bool, reference: float, value: float) -> str:
    return change(value - reference, share) + (" points" if share else "")


def _factor(reference: float, value: float) -> str:
    factor = ratio(reference, value)
    if factor is None or 0.95 < factor < 1.05:
        return ""
    return f"{times(factor)} less" if factor > 1 else f"{times(1 / factor)} more"


def _rate(value: float) -> str:
    return count(value) if value >= 100 else plain(value)


def _four_places(value: float) -> str:
    return f"{value:.4f}"
