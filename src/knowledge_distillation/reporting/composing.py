"""Put the parts of the report in their order: the verdict first, where it comes from last."""

from __future__ import annotations

from knowledge_distillation.reporting.blocks import Report
from knowledge_distillation.reporting.figures import short
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.answer import answer_of
from knowledge_distillation.reporting.sections.calibration import calibration_section
from knowledge_distillation.reporting.sections.classes import classes_section
from knowledge_distillation.reporting.sections.curves import curves_section
from knowledge_distillation.reporting.sections.doctor import doctor_section
from knowledge_distillation.reporting.sections.evaluated import part
from knowledge_distillation.reporting.sections.exports import exports_section
from knowledge_distillation.reporting.sections.models import models_section
from knowledge_distillation.reporting.sections.origin import origin_section
from knowledge_distillation.reporting.sections.robustness import robustness_section
from knowledge_distillation.reporting.sections.trade_offs import trade_offs_section
from knowledge_distillation.reporting.sections.verdict import verdict_of
from knowledge_distillation.reporting.sections.worse import worse_section

SECTIONS = (
    models_section,
    trade_offs_section,
    exports_section,
    curves_section,
    calibration_section,
    classes_section,
    worse_section,
    robustness_section,
    doctor_section,
    origin_section,
)


def compose(files: RunFiles, title: str | None = None) -> Report:
    """The report of a run.

    Args:
        files: of the run.
        title: of the page; default: the student's and the teacher's name.
    """
    verdict = verdict_of(files)
    answer, facts = answer_of(files, verdict)
    sections = [section for make in SECTIONS if (section := make(files)) is not None]
    return Report(
        title=title or _title(files),
        subtitle=_subtitle(files),
        verdict=verdict,
        answer=answer,
        facts=facts,
        sections=sections,
    )


def _title(files: RunFiles) -> str:
    student, teacher = _name(files, "student"), _name(files, "teacher")
    return f"{student}, taught by {teacher}" if student and teacher else student or files.directory.resolve().name


def _subtitle(files: RunFiles) -> str:
    said = files.recipe.get("description")
    data = _name(files, "data")
    return short(said, 160) if said else f"on {data}" if data else files.directory.resolve().name


def _name(files: RunFiles, section: str) -> str:
    found = files.recipe.get(section)
    name = part(files.recipe, section).get("name", found)
    return short(name) if isinstance(name, str) else ""
