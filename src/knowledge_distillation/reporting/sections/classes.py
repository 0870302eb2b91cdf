"""Where the student lost and where it gained: by class, by slice, and which classes it takes for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowledge_distillation.reporting.blocks import Block, Cell, Plot, Plots, Said, Section, Table
from knowledge_distillation.reporting.figures import change, count, is_share, number, score, short
from knowledge_distillation.reporting.plots.changes import change_plot
from knowledge_distillation.reporting.plots.confusion import MOST_CLASSES, confusion_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import entries, models_of, part
from knowledge_distillation.training.pipelines import higher_is_better

MOST_BARS = 16
MOST_PAIRS = 15


def classes_section(files: RunFiles) -> Section | None:
    """Changes from teacher to student, and confusion matrices."""
    names = class_names(files)
    regressions = part(files.evaluation, "regressions")
    blocks: list[Block] = []
    plots = [
        plot
        for title, key, rows in (
            ("Change by class", "class", entries(regressions.get("per_class"))),
            ("Change by slice", "slice", entries(regressions.get("per_slice"))),
        )
        if (plot := _changes(title, key, rows, names, str(regressions.get("metric") or "accuracy")))
    ]
    models = models_of(files)
    for model in ("teacher", "student", *(name for name in models if name not in ("teacher", "student"))):
        matrix = _square(part(models, model).get("confusion"))
        if matrix and len(matrix) <= MOST_CLASSES and (model in ("teacher", "student", "control")):
            plots.append(confusion_plot(f"Confusion of the {model}", matrix, _of_matrix(names, len(matrix))))
    if plots:
        blocks.append(Plots(plots))
    student = _square(part(models, "student").get("confusion"))
    if student and len(student) > MOST_CLASSES:
        blocks.append(_pairs(student, _of_matrix(names, len(student))))
    counts = {name: value for name, value in part(regressions, "counts").items() if number(value) is not None}
    if counts:
        said = ", ".join(f"{count(value)} {str(name).replace('_', ' ')}" for name, value in counts.items())
        blocks.insert(0, Said(f"Item by item: {said}."))
    return Section("classes", "Which classes changed?", blocks) if blocks else None


def class_names(files: RunFiles) -> dict[str, str]:
    """Class id, as text -> its name, where the evaluation knows it."""
    found: dict[str, str] = {}
    for entry in models_of(files).values():
        for row in entries(entry.get("per_class")):
            name = row.get("name")
            if name is not None:
                found[str(row.get("class"))] = short(name, 40)
    return found


def _changes(
    title: str, key: str, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], metric: str
) -> Plot | None:
    found = []
    for row in rows:
        difference = number(row.get("change"))
        if difference is not None:
            label = str(row.get(key, row.get("name", "")))
            found.append((names.get(label, short(label, 40)), difference, row))
    if not found:
        return None
    better = 1 if higher_is_better(None, metric) else -1
    found.sort(key=lambda entry: better * entry[1])
    share = all(is_share(metric, number(row.get("teacher")), number(row.get("student"))) for _, _, row in found)

    def text(value: Any) -> str:
        return change(value, share)

    half = MOST_BARS // 2
    shown = found if len(found) <= MOST_BARS else [*found[:half], *found[-half:]]

    rows_ = [
        [
            Cell(name, name),
            Cell(row.get("teacher"), score(metric, row.get("teacher"))),
            Cell(row.get("student"), score(metric, row.get("student"))),
            Cell(difference, text(difference)),
        ]
        for name, difference, row in found
    ]
    only = f", the {half} largest losses and gains of {len(found)}" if len(found) > MOST_BARS else ""
    unit = "points" if share else metric
    table = Table(title, [key, "teacher", "student", f"change, {unit}"], rows_)
    return change_plot(
        title + only, [(name, difference) for name, difference, _ in shown], table, unit=unit, text=text, better=better
    )


def _square(matrix: Any) -> list[list[float]]:
    """The matrix, if it is a square of finite counts."""
    if not isinstance(matrix, list) or not matrix:
        return []
    rows = [[number(value) for value in row] if isinstance(row, list) else [] for row in matrix]
    kept = [[value for value in row if value is not None] for row in rows]
    return kept if all(len(row) == len(matrix) for row in kept) else []


def _of_matrix(names: Mapping[str, str], size: int) -> list[str]:
    return [names.get(str(place), str(place)) for place in range(size)]


def _pairs(matrix: Sequence[Sequence[float]], names: Sequence[str]) -> Table:
    wrong = [
        (found, names[row], names[column])
        for row, counts in enumerate(matrix)
        for column, found in enumerate(counts)
        if row != column and found
    ]
    wrong.sort(key=lambda entry: -entry[0])
    rows = [[Cell(a, a), Cell(b, b), Cell(found, count(found))] for found, a, b in wrong[:MOST_PAIRS]]
    return Table(
        "What the student most often takes for something else", ["true", "taken for", "items"], rows, words=(1,)
    )
