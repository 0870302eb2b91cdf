"""Arguments that training would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from knowledge_distillation.capture.adapters import adapter_pair
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.errors import DistillationError
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.objective import as_objective
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.pipelines import check_pipeline
from knowledge_distillation.training.planning import check_arguments, check_warm_up
from knowledge_distillation.training.schedules import check_schedule


def arguments(patient: Patient) -> Iterator[Finding]:
    """An objective, optimiser, schedule, pipeline, loader or number that training refuses; or no teacher to ask."""
    plan = patient.plan
    loaders = None if isinstance(patient.given_val_loaders, Mapping) else patient.given_val_loaders
    attempts: dict[str, Callable[[], object]] = {
        "objective": lambda: as_objective(plan.objective),
        "adapter": lambda: adapter_pair(plan.adapter),
        "temperature": lambda: check_positive("temperature", plan.temperature),
        "optimizer": lambda: check_optimizer(plan.optimizer),
        "learning_rate": lambda: check_positive("learning_rate", plan.learning_rate),
        "schedule": lambda: check_schedule(plan.schedule),
        "warm_up_epochs": lambda: check_warm_up(plan.warm_up_epochs),
        "pipeline": lambda: None if plan.pipeline is None else check_pipeline(plan.pipeline),
        "loaders": lambda: check_arguments(patient.train_loader, loaders, plan.max_epochs, 0),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except DistillationError as error:
            yield _refused(name, error)
    if patient.teacher is None and patient.objective.needs_teacher:
        yield Finding(
            "error",
            "The objective has teacher terms and there is no teacher.",
            f"Terms: {', '.join(bound.name for bound in patient.objective.bound if bound.uses_teacher)}.",
            "Training stops before its first step.",
            "Pass a teacher, or use objective='labels'.",
        )


def _refused(name: str, error: Exception) -> Finding:
    return Finding(
        "error",
        f"Training refuses {name}.",
        f"{type(error).__name__}: {error}",
        "It stops before the first step.",
        "Change it as the message says.",
    )
