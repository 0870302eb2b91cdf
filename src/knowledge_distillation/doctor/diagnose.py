"""`diagnose`: run every check on a training that has not begun."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.doctor.checks import CHECKS, Check
from knowledge_distillation.doctor.finding import SEVERITIES, Diagnosis, Finding
from knowledge_distillation.doctor.loaders import CannotTell, undrawn
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.plan import Plan
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.objective.gathering import alone
from knowledge_distillation.teachers import Teacher, as_teacher
from knowledge_distillation.training.optimizers import OptimizerFactory
from knowledge_distillation.training.pipelines import InferencePipeline
from knowledge_distillation.training.schedules import ScheduleSpec


def diagnose(
    teacher: Teacher | nn.Module | None,
    student: nn.Module,
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    objective: Any = "kd",
    pipeline: InferencePipeline | None = None,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    temperature: float = 1.0,
    optimizer: str | OptimizerFactory | Mapping[str, Any] = "adamw",
    learning_rate: float = 1e-3,
    schedule: ScheduleSpec = "",
    max_epochs: int = 10,
    warm_up_epochs: float = 0.0,
    trainer: Mapping[str, Any] | None = None,
    teacher_score: float | None = None,
    quick: bool = False,
    checks: Sequence[str] | None = None,
) -> Diagnosis:
    """Say what would be silently wrong with a training, before its first step.

    Models, loaders and random generators are left as they were: models answer in eval mode without gradient, loaders
    are read beside, and what must train or be changed is a copy. Only a teacher that lies on another device than the
    student is moved for the question and back.

    The full form looks at up to 8 batches or 1024 items of the training data and as many of the first validation
    loader; it asks the teacher once for each, about a dozen times more about the same images in other renderings, and
    trains a copy of the student for ten steps. The quick form looks at one batch of each, at most 128 items, and costs
    less than 3 forwards of each model on such a batch; a teacher outside this process is not asked.

    Args:
        teacher, student, train_loader, val_loaders, objective, pipeline, adapter, temperature, optimizer,
            learning_rate, schedule, max_epochs, warm_up_epochs, trainer: as for `distill`.
        teacher_score: accuracy from 0 to 1 that the teacher is known for; a lower one on this data is a finding.
        quick: the form that runs before every training.
        checks: names of the checks to run; None runs all, or all of the quick form.

    Returns:
        The findings, worst first; what could not be looked at is among the skipped, with the reason.

    Raises:
        ConfigError: if a check is unknown, the student is no module, or the teacher is neither module nor `Teacher`.
    """
    if not isinstance(student, nn.Module):
        raise ConfigError(f"student must be an nn.Module, got {type(student).__name__}: there is nothing to look at.")
    if teacher is not None:
        as_teacher(teacher)
    plan = Plan(
        objective=objective,
        pipeline=pipeline,
        adapter=adapter,
        temperature=temperature,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        max_epochs=max_epochs,
        warm_up_epochs=warm_up_epochs,
        trainer=dict(trainer or {}),
        teacher_score=teacher_score,
    )
    chosen = _chosen(checks, quick)
    patient = Patient(plan, teacher, student, train_loader, val_loaders, quick)
    began = time.monotonic()
    findings: list[Finding] = []
    looked: list[str] = []
    skipped: dict[str, str] = {}
    with undrawn(train_loader, *patient.val_loaders.values()), alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the models and losses; training shows them
        for check in chosen:
            try:
                findings += (replace(finding, check=check.name) for finding in check.look(patient))
                looked.append(check.name)
            except CannotTell as reason:
                skipped[check.name] = str(reason)
            except Exception as error:  # what a check did not expect of a model must not hide the other checks
                skipped[check.name] = f"the check raised {type(error).__name__}: {error}"
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(tuple(findings), tuple(looked), skipped, round(time.monotonic() - began, 3))


def _chosen(names: Sequence[str] | None, quick: bool) -> list[Check]:
    known = {check.name: check for check in CHECKS if check.quick or not quick}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"There is no check named {name!r}{' in the quick form' if quick else ''}. "
                              f"{nearest(name, known)}")  # fmt: skip
    return [check for name, check in known.items() if names is None or name in names]
