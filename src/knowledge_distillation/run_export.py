"""The export of a run: its student in one form, proven on its own data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.export import Exported, export
from knowledge_distillation.training.plan import TrainingPlan


def export_run(
    plan: TrainingPlan | None, student: nn.Module, directory: Path, form: str, settings: Mapping[str, Any]
) -> Exported:
    """Export a run's student; arguments, errors and what is written as of `Run.export`."""
    known: dict[str, Any] = {"directory": directory / "exports" / form}
    if plan is not None:
        validation = next(iter((plan.val_loaders or {}).values()), None)
        known |= {
            "loader": plan.train_loader if validation is None else validation,
            "calibration": plan.train_loader,
            "pipeline": plan.pipeline,
            "adapter": plan.adapter,
        }
    card = {**measured_of(directory), **(settings.get("card") or {})}
    return export(student, form, **{**known, **settings, "card": card})


def measured_of(directory: Path) -> dict[str, Any]:
    """What a model card can tell of the evaluation and the comparison in a run's directory."""
    files = {name: directory / f"{name}.json" for name in ("evaluation", "comparison")}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
