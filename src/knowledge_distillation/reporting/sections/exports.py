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

FIGURES = (
    "equal to the student", "largest difference", "mean difference", "tolerance", "items compared", "score of the file",
    "score of the student", "size",
)  # fmt: skip


def shown_form(form: str) -> str:
    """A form's name as it is usually written."""
    return FORMS.get(form, short(form))


def exports_section(files: RunFiles) -> Section:
    """A row for each exported form."""
    title = "Exported files"
    if not files.exports:
        return Section("exports", title, [Absent("The student has not been exported.", command(files, "export"))])
    metric = next((quality_of(entry)[0] for entry in models_of(files).values()), "score")
    columns = [_column(form, manifest, metric) for form, manifest in files.exports.items()]
    rows = [
        [Cell(name, name), *(column[place] for column in columns)]
        for place, name in enumerate(FIGURES)
        if any(column[place].value is not None for column in columns)
    ]
    forms = [shown_form(form) for form in files.exports]
    blocks: list[Block] = [Table("Each file was loaded again and asked the same as the student", ["", *forms], rows)]
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


def _column(form: str, manifest: Mapping[str, Any], metric: str) -> list[Cell]:
    """The cells of one form, in the order of FIGURES."""
    equality, scores = part(manifest, "equality"), part(manifest, "score")
    metric = str(scores.get("metric") or metric)
    passed = proven(manifest)
    said = {True: "yes", False: "no", None: "not compared"}[passed]
    items = number(equality.get("items"))
    own, exported = number(scores.get("student")), number(scores.get("exported"))
    file_size = number(manifest.get("bytes"))
    differences = [number(equality.get(key)) for key in ("max_difference", "mean_difference", "tolerance")]
    return [
        Cell(said, said),
        *(Cell(value, _difference(value)) for value in differences),
        Cell(items, count(items)),
        Cell(exported, score(metric, exported)),
        Cell(own, score(metric, own)),
        Cell(file_size, size(file_size), short(manifest.get("file") or "")),
    ]


def _difference(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1e}" if 0 < abs(value) < 1e-2 else plain(value)
