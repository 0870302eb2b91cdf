"""How quality falls when inputs get worse."""

from __future__ import annotations

from knowledge_distillation.reporting.blocks import Plots, Said, Section
from knowledge_distillation.reporting.figures import is_share, number, plain
from knowledge_distillation.reporting.plots.lines import Line, line_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import colour, models_of, part, quality_of

INTACT = ("0", "none", "clean")


def robustness_section(files: RunFiles) -> Section | None:
    """A picture for each corruption, a curve for each model; severity 0 is the intact data."""
    models = models_of(files)
    corruptions = dict.fromkeys(str(name) for entry in models.values() for name in part(entry, "robustness"))
    plots = []
    for corruption in corruptions:
        lines: list[Line] = []
        for name, entry in models.items():
            metric, intact = quality_of(entry)
            points = {0.0: intact} if intact is not None else {}
            for severity, value in part(entry, "robustness", corruption).items():
                at, found = _severity(severity), number(value)
                if at is not None and found is not None:
                    points[at] = found
            if len(points) > 1:
                lines.append((name, colour(name, models), sorted(points.items())))
        if lines:
            share = is_share(metric, *(value for _, _, points in lines for _, value in points))
            text = (lambda value: f"{100 * value:.4g}%") if share else plain
            plots.append(
                line_plot(
                    corruption, lines, x_name="severity", y_name=metric, y_text=text, marks=True, may_be_log=False
                )
            )
    if not plots:
        return None
    return Section("robustness", "When inputs get worse", [Said("Severity 0 is the data as it is."), Plots(plots)])


def _severity(text: object) -> float | None:
    if text in INTACT:
        return 0.0
    try:
        return number(float(str(text)))
    except ValueError:
        return None
