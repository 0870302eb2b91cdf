"""Export the student of a run, with what the run knows about its data, its teacher and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export import Exported, export
from knowledge_distillation.export.card import known_of
from knowledge_distillation.training.plan import TrainingPlan

EXPORTS = "exports"


def export_run(
    plan: TrainingPlan | None, student: nn.Module, directory: Path, form: str, settings: Mapping[str, Any]
) -> Exported:
    """Write the student into exports/ of a run; arguments and errors as of `Run.export`."""
    known: dict[str, Any] = {}
    told: dict[str, Any] = {}
    if plan is not None:
        loaders = plan.val_loaders or {}
        name, loader = next(iter(loaders.items()), ("train", plan.train_loader))
        known = {
            "loader": loader,
            "calibration": plan.train_loader,
            "pipeline": plan.pipeline,
            "adapter": plan.adapter,
        }
        told |= {} if plan.teacher is None else {"teacher": type(plan.teacher).__name__}
        told |= {} if "loader" in settings else {"scored_on": name}
    elif not {"loader", "example"} & settings.keys():
        raise ConfigError(
            "A run that was read back has no data, and nothing is proven equal without inputs. Pass a loader or an "
            "example batch: run.export(form, loader=...)."
        )
    card = {**told, **known_of(directory), **(settings.get("card") or {})}
    given = {**known, **settings, "card": card}
    return export(student, form, given.pop("directory", directory / EXPORTS / form), **given)
