"""Examine a recipe: make its models and data, train the teacher where it asks for that, and ask the doctor."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.doctor import Diagnosis, diagnose
from knowledge_distillation.objective import as_objective
from knowledge_distillation.objective.control import without_teacher
from knowledge_distillation.recipes.preparing import begun, prepared
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.teachers.cache.manifest import MANIFEST

PLAN = (
    "objective", "adapter", "temperature", "optimizer", "learning_rate", "schedule", "max_epochs", "warm_up_epochs",
    "trainer", "pipeline",
)  # fmt: skip


def examine_recipe(
    recipe: Recipe,
    *,
    directory: str | Path | None = None,
    own: Mapping[str, Any] | None = None,
    quick: bool = False,
    checks: Sequence[str] | None = None,
) -> Diagnosis:
    """Say what would be silently wrong with the training of a recipe's student.

    A teacher that the recipe trains is trained here, because an untrained one has nothing to show; the student is not.
    A cache is read where it has been written, and not written; students that teach each other are examined one by one
    at what they learn from without each other.

    Args:
        recipe: from `read_recipe`.
        directory: keeps a teacher that is trained, which is taken from there the next time, and doctor.json; None
            keeps nothing.
        own: the user's models and data sets by name; see `own_names`.
        quick, checks: as for `diagnose`.

    Raises:
        ConfigError: if a name or a setting is wrong.
        CheckpointError: if weights are missing or do not fit.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="kd-doctor-") as folder:
            return diagnose(**to_examine(recipe, Path(folder), own), quick=quick, checks=checks)
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    diagnosis = diagnose(**to_examine(recipe, home, own), quick=quick, checks=checks)
    diagnosis.write(home)
    return diagnosis


def to_examine(recipe: Recipe, home: Path, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of `diagnose` that a recipe stands for; a teacher that must be trained is trained into `home`."""
    if recipe.cache is not None and not (Path(recipe.cache["directory"]) / MANIFEST).is_file():
        recipe = replace(recipe, cache=None)
    data, student = begun(recipe, own or {})
    job = prepared(recipe, data, student, own or {}, home, "auto")
    if isinstance(job.teacher, nn.Module):
        job.teacher.eval()
    plan = {name: job.arguments[name] for name in PLAN if name in job.arguments}
    if (job.recipe.method or {}).get("name") == "mutual":
        plan["objective"] = without_teacher(as_objective(job.recipe.objective)) or "labels"
    return {"teacher": job.teacher, "student": job.student, "train_loader": job.data.train,
            "val_loaders": job.data.validation, **plan}  # fmt: skip
