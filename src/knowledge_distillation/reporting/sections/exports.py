"""The files to ship: what each is, and how far it differs from the student."""

from __future__ import annotations

from knowledge_distillation.reporting.blocks import Absent, Block, Cell, Listed, Section, Table
from knowledge_distillation.reporting.figures import ABSENT, count, number, plain, score, short, size
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.evaluated import entries, models_of, notes_of, part, quality_of

FORMS = {"onnx": "ONNX", "safetensors": "safetensors", "torch_export": "torch.export", "int8": "int8"}

FIGURES = (
    "answers as the student", "largest difference", "mean difference", "largest, relative", "mean, relative",
    "same highest class", "batches compared", "score of the file", "score of the student", "size",
)  # fmt: skip
MEASURES = ("max_abs", "mean_abs", "max_relative", "mean_relative")


def shown_form(form: str) -> str:
    """A form's name as it is usually written."""
    return FORMS.get(form, short(form))


def exports_section(files: RunFiles) -> Section:
    """A row for each exported form."""
    title = "Exported files"
    if not files.exports:
        return Section("exports", title, [Absent("The student has not been exported.", command(files, "export"))])
    metric = next((quality_of(entry)[0] for entry in models_of(files).values()), "score")
    columns = [_column(files, form, metric) for form in files.exports]
    rows = [
        [Cell(name, name), *(column[place] for column in columns)]
        for place, name in enumerate(FIGURES)
        if any(column[place].value is not None for column in columns)
    ]
    forms = [shown_form(form) for form in files.exports]
    blocks: list[Block] = [Table("Each file was loaded again and asked the same as the student", ["", *forms], rows)]
    notes = [(shown_form(form), note) for form, manifest in files.exports.items() for note in notes_of(manifest)]
    if notes:
        blocks.append(Listed("Notes", notes))
    return Section("exports", title, blocks)


def proven(files: RunFiles, form: str) -> bool | None:
    """Whether the file is the one that was reloaded and answered as the student did; None where nobody compared."""
    if form in files.altered:
        return False
    return True if part(files.exports[form], "equality") else None


def _column(files: RunFiles, form: str, metric: str) -> list[Cell]:
    """The cells of one form, in the order of FIGURES."""
    manifest = files.exports[form]
    equality, scores = part(manifest, "equality"), part(manifest, "equality", "score")
    said = {True: "yes", False: "not the file that was compared", None: "not compared"}[proven(files, form)]
    tolerance = ", ".join(
        f"{short(name)} {_difference(number(value))}" for name, value in part(equality, "tolerance").items()
    )
    agreement, batches = number(equality.get("agreement")), number(equality.get("batches"))
    own, shipped = number(scores.get("student")), number(scores.get("artefact"))
    file = next(iter(entries(manifest.get("files"))), {})
    file_size = number(file.get("bytes"))
    return [
        Cell(said, said, f"within {tolerance}" if tolerance and said == "yes" else ""),
        *(Cell(number(equality.get(key)), _difference(number(equality.get(key)))) for key in MEASURES),
        Cell(agreement, score("agreement", agreement)),
        Cell(batches, count(batches)),
        Cell(shipped, score(metric, shipped)),
        Cell(own, score(metric, own)),
        Cell(file_size, size(file_size), short(file.get("name") or "")),
    ]


def _difference(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1e}" if 0 < abs(value) < 1e-3 else plain(value)
