"""The models of an evaluation: their order, their colours, and the table of everything that was measured of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Block, Cell, Listed, Said, Section, Table
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
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command

FIRST = ("teacher", "student", "control")
OTHERS = 5


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


def quality_of(entry: Mapping[str, Any]) -> tuple[str, float | None]:
    """The name of the metric and its value."""
    quality = part(entry, "quality")
    return str(quality.get("metric") or "quality"), number(quality.get("value"))


def models_section(files: RunFiles) -> Section:
    """Every figure of every model in one table, and how each was measured."""
    title = "The models side by side"
    models = models_of(files)
    if not models:
        return Section(
            "models",
            title,
            [
                Absent(
                    "Quality, size, speed, calibration, classes and robustness were not measured.",
                    command(files, "report"),
                )
            ],
        )
    rows = _rows(files, models)
    strong = 1 + list(models).index("student") if "student" in models else 0
    kept = [row for row in rows if any(cell.value is not None for cell in row[1:])]
    strong = 1 + list(models).index("student") if "student" in models else 0
    blocks: list[Block] = [Table(_caption(files), ["", *models], kept, strong=strong)]
    if "control" not in models:
        blocks.append(
            Said("The control, the same student without the teacher, was not evaluated with these models.", note=True)
        )
    notes = part(files.evaluation).get("notes")
    if isinstance(notes, list) and notes:
        blocks.append(Listed("Notes of the evaluation", [("", str(note)) for note in notes]))
    how = _how(models)
    if how:
        blocks.append(Listed("How each figure was measured", how, folded=True))
    return Section("models", title, blocks)


def _caption(files: RunFiles) -> str:
    data = part(files.evaluation, "data")
    items = f"{count(data['items'])} items" if number(data.get("items")) is not None else "the evaluation data"
    loader = f" of {short(data['loader'])}" if data.get("loader") else ""
    labelled = number(data.get("labelled"))
    partly = labelled is not None and labelled != number(data.get("items"))
    return f"Measured on {items}{loader}{f', {count(labelled)} of them labelled' if partly else ''}"


def _rows(files: RunFiles, models: Mapping[str, Mapping[str, Any]]) -> list[list[Cell]]:
    first = next(iter(models.values()))
    metric = quality_of(first)[0]
    reference = part(models, "teacher")
    values = [quality_of(entry)[1] for entry in models.values()]
    best = quality_of(reference)[1]
    share = is_share(metric, *values)
    rows = [
        _row(metric, models, lambda entry: quality_of(entry)[1], lambda value: score(metric, value),
             lambda value: "" if best is None else change(value - best, share) + (" points" if share else ""))
    ]  # fmt: skip
    also = dict.fromkeys(str(name) for entry in models.values() for name in part(entry, "also"))
    for name in also:
        rows.append(_row(name, models, lambda e, n=name: part(e, "also").get(n), lambda v, n=name: score(n, v)))  # type: ignore[misc]
    fidelity = part(files.evaluation, "fidelity")
    rows.append(_faithful("agreement with the teacher", models, fidelity, "agreement", lambda v: score("agreement", v)))
    rows.append(_faithful("KL from the teacher, nats", models, fidelity, "kl", plain))
    overlap = {name: part(fidelity, name, "top_k_overlap") for name in models}
    k = next((found["k"] for found in overlap.values() if found.get("k")), "k")
    top = {name: {"value": found.get("value")} for name, found in overlap.items()}
    rows.append(_faithful(f"overlap of the top {k}", models, top, "value", lambda v: score("top", v)))

    def against(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[Any], str]:
        return lambda value: _smaller(read(reference), value)

    def cost(key: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda entry: part(entry, "cost").get(key)

    for name, key, text in (
        ("parameters", "parameters", count),
        ("size in memory", "bytes", size),
        ("size of the file", "file_bytes", size),
        ("FLOPs an item", "flops", large),
        ("peak memory", "peak_memory_bytes", size),
    ):
        rows.append(_row(name, models, cost(key), text, against(cost(key))))
    batches = dict.fromkeys(str(batch) for entry in models.values() for batch in part(entry, "cost", "latency"))
    for batch in batches:
        for key, name in (("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99")):

            def read(entry: Mapping[str, Any], batch: str = batch, key: str = key) -> Any:
                return part(entry, "cost", "latency", batch).get(key)

            rows.append(
                _row(
                    f"latency {name}, batch {batch}",
                    models,
                    read,
                    milliseconds,
                    against(read) if key == "p50_ms" else None,
                )
            )
        rows.append(_row(f"items a second, batch {batch}", models,
                         lambda e, b=batch: part(e, "cost", "latency", b).get("items_per_second"), _rate))  # type: ignore[misc]  # fmt: skip
    for key, name in (("energy_joules", "energy an item, J"), ("energy_kwh", "energy, kWh")):
        rows.append(_row(name, models, cost(key), plain))
    rows.append(_row("calibration error (ECE)", models, lambda e: part(e, "calibration").get("ece"), _ece))
    rows.append(_row("ECE after temperature scaling", models, lambda e: part(e, "calibration").get("ece_after"), _ece))
    return rows


def _row(
    name: str,
    models: Mapping[str, Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Any],
    text: Callable[[Any], str],
    below: Callable[[Any], str] | None = None,
) -> list[Cell]:
    row = [Cell(name, name)]
    for model, entry in models.items():
        value = number(read(entry))
        row.append(Cell(value, text(value), below(value) if below and value is not None and model != "teacher" else ""))
    return row


def _faithful(
    name: str, models: Mapping[str, Any], found: Mapping[str, Any], key: str, text: Callable[[Any], str]
) -> list[Cell]:
    values = {model: number(part(found, model).get(key)) for model in models}
    return [Cell(name, name), *(Cell(value, ABSENT if value is None else text(value)) for value in values.values())]


def _smaller(of: Any, to: Any) -> str:
    factor = ratio(of, to)
    if factor is None or 0.95 < factor < 1.05:
        return ""
    return f"{times(factor)} less" if factor > 1 else f"{times(1 / factor)} more"


def _rate(value: Any) -> str:
    found = number(value)
    return ABSENT if found is None else count(found) if found >= 100 else plain(found)


def _ece(value: Any) -> str:
    found = number(value)
    return ABSENT if found is None else f"{found:.4f}"


def _how(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each figure's sentence once, with the model's name where models were measured differently."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, entry in models.items():
        quality = part(entry, "quality")
        sentences = {"quality": quality.get("how"), **part(entry, "cost", "how")}
        for figure, sentence in sentences.items():
            if sentence:
                said.setdefault((str(figure), str(sentence)), []).append(name)
    return [
        (figure if len(names) == len(models) else f"{figure} ({', '.join(names)})", sentence)
        for (figure, sentence), names in said.items()
    ]
