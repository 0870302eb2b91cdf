"""The evaluation of a run: its teacher, student, control and exported files, measured by one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.evaluation.evaluating import evaluate
from knowledge_distillation.evaluation.latency import cpu_threads
from knowledge_distillation.evaluation.result import Evaluation
from knowledge_distillation.export.exported import MANIFEST, read
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.loaders import loader_name
from knowledge_distillation.training.plan import TrainingPlan, built
from knowledge_distillation.training.weights import load_weights


def evaluate_run(
    plan: TrainingPlan | None,
    teacher: Teacher | None,
    student: nn.Module,
    directory: Path,
    loader: Iterable[Any] | None,
    *,
    metric: str | None,
    models: Mapping[str, Any] | None,
    measures: Mapping[str, Any],
) -> Evaluation:
    """Evaluate a run and write evaluation.json; arguments, errors and what is written as of `Run.evaluate`."""
    loaders = dict(plan.val_loaders or {}) if plan is not None else {}
    if loader is None:
        metric = _checked_metric(metric, loaders)
        loader = loaders[metric]
    threads = measures.get("threads", 1)
    taught: dict[str, Any] = {} if teacher is None else {"teacher": teacher}
    with cpu_threads(threads):  # a runtime settles its threads when a file is opened
        opened, files = _exports(directory, student)
    own = {**taught, "student": student, **_control(plan, directory), **opened, **(models or {})}
    called: dict[str, Any] = {} if plan is None else {"adapter": plan.adapter, "pipeline": plan.pipeline}
    asked = {**called, "loader_name": metric or "validation", **measures}
    found = evaluate(own, loader, **{**asked, "files": {**files, **(asked.get("files") or {})}})
    found.save(directory)
    return found


def _checked_metric(metric: str | None, loaders: Mapping[str, Any]) -> str:
    if not loaders:
        raise ConfigError(
            "An evaluation asks every model about validation data, and the run has none. Pass a loader: "
            "run.evaluate(loader)."
        )
    return loader_name(metric, loaders)


def _control(plan: TrainingPlan | None, directory: Path) -> dict[str, nn.Module]:
    """The control student of `Run.compare`, if there is one and it can be built."""
    file = directory / "control.safetensors"
    if plan is None or not file.is_file():
        return {}
    control = plan.again().student
    if not isinstance(control, nn.Module):
        with torch.random.fork_rng(devices=[]):
            control = built(control)
    try:
        load_weights(control, file)
    except CheckpointError as error:
        raise CheckpointError(
            f"{file} must hold the control student of this run and does not: {error}. Compare again, or remove it."
        ) from error
    return {"control": control}


def _exports(directory: Path, student: nn.Module) -> tuple[dict[str, nn.Module], dict[str, Path]]:
    """The exported files under their folder's name, loaded, and what each weighs on the disk."""
    found = [read(manifest.parent) for manifest in sorted(directory.glob(f"exports/*/{MANIFEST}"))]
    opened: dict[str, nn.Module] = {exported.path.name: exported.load(student) for exported in found}
    return opened, {exported.path.name: exported.file for exported in found}
