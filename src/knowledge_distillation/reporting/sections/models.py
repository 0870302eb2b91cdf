"""Every figure of every model in one table, and how each was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Block, Cell, Listed, Said, Section, Table
from knowledge_distillation.reporting.figures import count, number, plain, short
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.evaluated import models_of, notes_of, part
from knowledge_distillation.reporting.sections.exports import shown_form
from knowledge_distillation.reporting.sections.model_rows import rows_of


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
                    "Not measured: quality, size, speed, calibration, classes and robustness.", command(files, "report")
                )
            ],
        )
    rows = rows_of(models, part(files.evaluation, "fidelity"))
    strong = 1 + list(models).index("student") if "student" in models else 0
    blocks: list[Block] = [Table(_caption(files), ["", *models], rows, strong=strong)]
    if "control" not in models:
        blocks.append(
            Said("The control, the same student without the teacher, was not evaluated with these models.", note=True)
        )
    later = [form for form in files.exports if form not in models]
    if later:
        blocks.append(
            Absent(f"Not measured with the others: {', '.join(map(shown_form, later))}.", command(files, "report"))
        )
    notes = notes_of(part(files.evaluation))
    if notes:
        blocks.append(Listed("Notes of the evaluation", [("", note) for note in notes]))
    alike = _alike(files, models)
    if alike is not None:
        blocks.append(alike)
    how = _how(models, part(files.evaluation, "fidelity"))
    if how:
        blocks.append(Listed("How each figure was measured", how, folded=True))
    return Section("models", title, blocks)


def _caption(files: RunFiles) -> str:
    data = part(files.evaluation, "data")
    number_of = number(data.get("items"))
    one = "1 item" if number_of == 1 else f"{count(number_of)} items"
    items = "the evaluation data" if number_of is None else one
    loader = f" of {short(data['loader'])}" if data.get("loader") else ""
    labelled = number(data.get("labelled"))
    partly = labelled is not None and labelled != number(data.get("items"))
    return f"Measured on {items}{loader}{f', {count(labelled)} of them labelled' if partly else ''}"


def _alike(files: RunFiles, models: Mapping[str, Any]) -> Table | None:
    """How alike layers are to the teacher's, for each model whose layers were compared."""
    found = {name: part(files.evaluation, "fidelity", name, "cka") for name in models}
    pairs = dict.fromkeys(str(pair) for layers in found.values() for pair in layers)
    if not pairs:
        return None
    shown = [name for name, layers in found.items() if layers]
    values = {pair: [number(found[name].get(pair)) for name in shown] for pair in pairs}
    rows = [[Cell(pair, short(pair)), *(Cell(value, plain(value)) for value in row)] for pair, row in values.items()]
    return Table("Layers seen as the teacher sees them (CKA, 1 is the same geometry)", ["", *shown], rows, folded=True)


def _how(models: Mapping[str, Mapping[str, Any]], fidelity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each figure's sentence once, with the model's name where models were measured differently."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, entry in models.items():
        quality = part(entry, "quality")
        sentences = {
            "quality": quality.get("how"),
            **part(entry, "cost", "how"),
            "calibration": part(entry, "calibration").get("how"),
            "fidelity": part(fidelity, name).get("how"),
        }
        for figure, sentence in sentences.items():
            if sentence:
                said.setdefault((str(figure), str(sentence)), []).append(name)
    return [
        (figure if len(names) == len(models) else f"{figure} ({', '.join(names)})", sentence)
        for (figure, sentence), names in said.items()
    ]
