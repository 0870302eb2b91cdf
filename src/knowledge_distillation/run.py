"""`distill`: a teacher and data go in; a run with a trained student comes out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import seed_everything
from safetensors.torch import save_model
from torch import nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.fitting import check_checkpoint, fit
from knowledge_distillation.training.loaders import loader_for, loader_length
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.optimizers import OptimizerFactory
from knowledge_distillation.training.pipelines import InferencePipeline
from knowledge_distillation.training.planning import check_arguments
from knowledge_distillation.training.run_directory import checkpoint_to_resume, environment_facts, open_directory, plain
from knowledge_distillation.training.schedules import ScheduleFactory
from knowledge_distillation.training.tracking import csv_logger, trackers
from knowledge_distillation.training.trainer import make_trainer


@dataclass(frozen=True, slots=True)
class Run:
    """What one training left behind.

    Attributes:
        student: the very module that was passed in, trained, on the device it trained on; inside a module that answers
            through it where the objective leaves parts in the student for good, as "simkd" does.
        scores: validation loader name -> the student's score after the last epoch.
        directory: holds recipe.yaml, environment.json, metrics.csv, checkpoints/ and student.safetensors.
        module: the Lightning module, with the objective and its learned parts.
    """

    student: nn.Module
    scores: Mapping[str, float]
    directory: Path
    module: DistillationModule = field(repr=False)


def distill(
    teacher: Teacher | nn.Module | None,
    student: nn.Module,
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    pipeline: InferencePipeline | None = None,
    objective: Any = "kd",
    max_epochs: int = 10,
    optimizer: str | OptimizerFactory | Mapping[str, Any] = "adamw",
    learning_rate: float = 1e-3,
    schedule: str | ScheduleFactory = "",
    warm_up_epochs: float = 0.0,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    temperature: float = 1.0,
    directory: str | Path | None = None,
    resume: str | Path | None = None,
    seed: int = 0,
    track: Sequence[str] = (),
    speed: str | Mapping[str, Any] = "off",
    trainer: Mapping[str, Any] | None = None,
) -> Run:
    """Train the student to do what the teacher does, and write the run to a directory.

    Args:
        teacher: an nn.Module, a `Teacher`, or None with an objective that needs none ("labels").
        student: the module to train, in place.
        train_loader: yields tensors, (inputs, labels) or dicts; see `capture.adapters.auto`.
        val_loaders: name -> loader; each is scored whole after every epoch.
        pipeline: scores the student on a loader; default: accuracy.
        objective: a preset (`kd list objectives`), a loss name, a loss, or named terms.
        max_epochs: epochs to train, >= 1.
        optimizer: name, mapping with "name" and settings, or torch.optim class.
        learning_rate: > 0.
        schedule: learning-rate schedule by name, or a callable.
        warm_up_epochs: epochs of warm-up for the schedule.
        adapter: how to call the models; see `capture.adapters`.
        temperature: handed to the adapters; the losses have their own.
        directory: where the run is written; default: the next free runs/run-NNN.
        resume: None for a fresh run, "auto" for the directory's last checkpoint, or a checkpoint's path.
        seed: seeds Python, NumPy and torch, and the loaders' workers.
        track: trackers besides the CSV file: "tensorboard", "comet", "wandb", "mlflow".
        speed: "off" changes nothing; "auto" tries faster settings on the first batch, keeps those that give the same
            loss, and prints which; a mapping sets them, such as {"channels_last": True}; see `training.speed.Settings`.
        trainer: any argument of `lightning.Trainer`: accelerator, devices, strategy, precision,
            accumulate_grad_batches, gradient_clip_val, ...

    Returns:
        The `Run`.

    Raises:
        ConfigError: if an argument is wrong, the train loader is empty, or the directory holds another run.
        CheckpointError: if there is nothing to resume from.
    """
    check_arguments(train_loader, val_loaders, max_epochs, seed)
    resume = resume or None
    module = DistillationModule(
        student,
        teacher,
        objective,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        warm_up_epochs=warm_up_epochs,
        adapter=adapter,
        temperature=temperature,
        val_loaders=val_loaders,
        pipeline=pipeline,
        speed=speed,
    )
    run_directory = open_directory(directory, resume)
    checkpoint = checkpoint_to_resume(run_directory, resume)
    if checkpoint:
        check_checkpoint(checkpoint, module)
    seed_everything(seed, workers=True, verbose=False)
    loggers = [csv_logger(run_directory), *trackers(track, run_directory, run_directory.name)]
    engine = make_trainer(
        run_directory,
        max_epochs=max_epochs,
        loggers=loggers,
        metric=next(iter(module.val_loaders), None),
        pipeline=module.pipeline,
        steps_per_epoch=loader_length(train_loader),
        overrides=trainer or {},
    )
    settings = {
        "objective": {name: plain(term) for name, term in module.objective.terms.items()},
        "training": {
            "max_epochs": max_epochs,
            "optimizer": plain(optimizer),
            "learning_rate": learning_rate,
            "schedule": plain(schedule),
            "warm_up_epochs": warm_up_epochs,
            "adapter": plain(adapter),
            "temperature": temperature,
            "seed": seed,
            "speed": plain(speed),
            "trainer": {key: plain(value) for key, value in (trainer or {}).items()},
        },
        "teacher": plain(teacher),
        "student": plain(student),
    }
    if engine.is_global_zero:
        (run_directory / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    started = time.monotonic()
    fit(engine, module, loader_for(module.teacher, train_loader), checkpoint)
    if engine.is_global_zero:
        save_model(module.finished_student, str(run_directory / "student.safetensors"))
        environment = {
            **environment_facts(),
            "seed": seed,
            "teacher": None if module.teacher is None else module.teacher.fingerprint,
            "seconds": round(time.monotonic() - started, 3),
            "scores": module.scores,
            "speed": asdict(module.speed.chosen),
            "interrupted": engine.interrupted,
        }
        (run_directory / "environment.json").write_text(json.dumps(environment, indent=2), encoding="utf-8")
    return Run(student=module.finished_student, scores=dict(module.scores), directory=run_directory, module=module)
