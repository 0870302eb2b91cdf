"""How the training went: every component of the loss, the scores, and the learning rate."""

from __future__ import annotations

from knowledge_distillation.reporting.blocks import Absent, Plots, Section
from knowledge_distillation.reporting.figures import is_share, plain
from knowledge_distillation.reporting.plots.lines import Line, line_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import models_of, part, quality_of

TOTAL = {"train_final_loss": "a step", "train_final_loss_epoch": "mean of an epoch", "val_final_loss": "validation"}
RATE = "lr-"


def curves_section(files: RunFiles) -> Section:
    """A picture for each component; the score first, the learning rate last."""
    title = "How the training went"
    if not files.curves:
        return Section("curves", title, [Absent("There is no metrics.csv: the training was not logged.")])
    curves = files.curves
    scored = [name for name in part(files.environment, "scores") if name in curves]
    metric = next((quality_of(entry)[0] for entry in models_of(files).values()), "")
    plots = []
    for name in scored:
        share = any(is_share(word, *(value for _, value in curves[name])) for word in (name, metric))
        text = (lambda value: f"{100 * value:.4g}%") if share else plain
        line: Line = (name, "c-student", curves[name])
        plots.append(
            line_plot(f"Score: {name}", [line], x_name="step", y_name=metric or "score", y_text=text, may_be_log=False)
        )
    kinds = ("c-teacher faint", "c-student", "c-control dashed")
    total: list[Line] = [
        (said, kind, curves[name]) for (name, said), kind in zip(TOTAL.items(), kinds, strict=True) if name in curves
    ]
    if total:
        plots.append(line_plot("Loss: total", total, x_name="step", y_name="loss"))
    taken = {*scored, *TOTAL, *(name for name in curves if name.startswith(RATE))}
    for name in curves:
        base = name.removeprefix("val_")
        if name in taken or (name != base and base in curves and base not in taken):
            continue
        lines: list[Line] = [(name, "c-student", curves[name])]
        if f"val_{name}" in curves:
            lines = [("training", "c-student", curves[name]), ("validation", "c-control dashed", curves[f"val_{name}"])]
        plots.append(line_plot(f"Loss: {name}", lines, x_name="step", y_name="loss"))
    for name in curves:
        if name.startswith(RATE):
            lines = [(name, "c-student", curves[name])]
            plots.append(
                line_plot(
                    f"Learning rate: {name.removeprefix(RATE)}",
                    lines,
                    x_name="step",
                    y_name="learning rate",
                    may_be_log=False,
                )
            )
    return Section("curves", title, [Plots(plots)])
