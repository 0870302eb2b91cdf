"""The files to ship: what each is, and how far it differs from the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Block, Cell, Listed, Section, Table
from knowledge_distillation.reporting.figures import ABSENT, count, number, plain, score, short, size
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.models import models_of, part, quality_of

FORMS = {"onnx": "ONNX", "safetensors": "safetensors", "torch_export": "torch.export", "int8": "int8"}


def shown_form(form: str) -> str:
    """A form's name as it is usually written."""
    return FORMS.get(form, short(form))


def exports_section(files: RunFiles) -> Section:
    """A row for each exported form."""
    title = "Exported files"
    if not files.exports:
        return Section("exports", title, [Absent("The student has not been exported.", command(files, "export"))])
    columns = [
        "",
        "equal to the student",
        "size",
        "largest difference",
        "mean difference",
        "tolerance",
        "compared on",
        "score",
        "student's score",
    ]
    metric = next((quality_of(entry)[0] for entry in models_of(files).values()), "score")
    rows = [_row(form, manifest, metric) for form, manifest in files.exports.items()]
    blocks: list[Block] = [
        Table("Each file was loaded again and asked the same as the student", columns, rows, words=(1,))
    ]
    notes = [
        (shown_form(form), str(note))
        for form, manifest in files.exports.items()
        for note in (manifest.get("notes") if isinstance(manifest.get("notes"), list) else [])
    ]
    if notes:
        blocks.append(Listed("Notes", notes))
    return Section("exports", title, blocks)


def proven(manifest: Mapping[str, Any]) -> bool | None:
    """Whether the reloaded file answered as the student did; None where the manifest does not say."""
    said = part(manifest, "equality").get("passed", manifest.get("passed"))
    return said if isinstance(said, bool) else None


def _row(form: str, manifest: Mapping[str, Any], metric: str) -> list[Cell]:
    equality, scores = part(manifest, "equality"), part(manifest, "score")
    metric = str(scores.get("metric") or metric)
    passed = proven(manifest)
    said = {True: "yes", False: "no", None: "not compared"}[passed]
    numbers = {key: number(equality.get(key)) for key in ("max_difference", "mean_difference", "tolerance", "items")}
    own, exported = number(scores.get("student")), number(scores.get("exported"))
    file_size = number(manifest.get("bytes"))
    return [
        Cell(form, shown_form(form), short(manifest.get("file") or "")),
        Cell(passed, said),
        Cell(file_size, size(file_size)),
        *(Cell(numbers[key], _difference(numbers[key])) for key in ("max_difference", "mean_difference", "tolerance")),
        Cell(numbers["items"], f"{count(numbers['items'])} items" if numbers["items"] is not None else ABSENT),
        Cell(exported, score(metric, exported)),
        Cell(own, score(metric, own)),
    ]


def _difference(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1e}" if 0 < abs(value) < 1e-2 else plain(value)
