"""Whether the models are as often right as they are sure."""

from __future__ import annotations

from knowledge_distillation.reporting.blocks import Block, Listed, Plots, Said, Section
from knowledge_distillation.reporting.figures import number
from knowledge_distillation.reporting.plots.reliability import reliability_plot
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import FIRST, colour, entries, models_of, part


def calibration_section(files: RunFiles) -> Section | None:
    """A reliability diagram of teacher, student and control; those of exported files are as the student's."""
    models = models_of(files)
    plots, scaled = [], []
    for name, entry in models.items():
        found = part(entry, "calibration")
        bins = entries(found.get("bins"))
        error, temperature, after = (number(found.get(key)) for key in ("ece", "temperature", "ece_after"))
        if bins and (name in FIRST or not any(first in models for first in FIRST)):
            said = f", ECE {error:.3f}" if error is not None else ""
            plots.append(reliability_plot(f"{name}{said}", bins, colour(name, models)))
        if temperature is not None and error is not None and after is not None:
            scaled.append(
                (name, f"ECE {error:.3f} becomes {after:.3f} when its logits are divided by {temperature:.2f}.")
            )
    if not plots:
        return None
    blocks: list[Block] = [
        Said("The dashed line is a model that is right as often as it is sure. ECE is the mean distance to it."),
        Plots(plots),
    ]
    if scaled:
        blocks.append(Listed("After temperature scaling", scaled))
    return Section("calibration", "Is it as right as it is sure?", blocks)
