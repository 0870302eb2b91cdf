"""Read evaluation.json: the models in their order, their colours, their quality and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.reporting.figures import number
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.training.pipelines import higher_is_better

FIRST = ("teacher", "student", "control")
OTHERS = 5
"""Colours that the page has for further models."""


def models_of(files: RunFiles) -> dict[str, Mapping[str, Any]]:
    """Name -> what was measured; teacher, student and control first, the others as they stand."""
    found = part(files.evaluation, "models")
    models = {str(name): entry for name, entry in found.items() if isinstance(entry, Mapping)}
    return {name: models[name] for name in (*(n for n in FIRST if n in models), *(n for n in models if n not in FIRST))}


def part(entry: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any]:
    """The mapping at a path of keys; an empty one where it is not there."""
    for key in path:
        found = entry.get(key) if isinstance(entry, Mapping) else None
        entry = found if isinstance(found, Mapping) else {}
    return entry or {}


def entries(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; none where there is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def colour(name: str, models: Mapping[str, Any]) -> str:
    """The CSS class of a model."""
    if name in FIRST:
        return f"c-{name}"
    others = [other for other in models if other not in FIRST]
    return f"c-other-{others.index(name) % OTHERS}" if name in others else "c-other-0"


def size_of(entry: Mapping[str, Any]) -> Any:
    """Bytes of the file where there is one, else of the tensors."""
    cost = part(entry, "cost")
    return cost.get("file_bytes") if number(cost.get("file_bytes")) is not None else cost.get("bytes")


def latency_of(entry: Mapping[str, Any], batch: str = "1") -> Any:
    """Median milliseconds for a batch."""
    return part(entry, "cost", "latency", batch).get("p50_ms")


def is_higher_better(entry: Mapping[str, Any]) -> bool:
    """Which way the quality of a model improves: what the evaluation says, else what the metric's name suggests."""
    said = part(entry, "quality").get("higher_is_better")
    return said if isinstance(said, bool) else higher_is_better(None, quality_of(entry)[0])


def quality_of(entry: Mapping[str, Any]) -> tuple[str, float | None]:
    """The name of the metric and its value."""
    quality = part(entry, "quality")
    return str(quality.get("metric") or "quality"), number(quality.get("value"))


def notes_of(entry: Mapping[str, Any]) -> list[str]:
    """What a file says besides, in sentences."""
    notes = entry.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []
