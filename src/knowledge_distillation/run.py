"""`distill`: a teacher and data go in; a run with a trained student comes out."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import seed_everything
from safetensors.torch import save_model
from torch import nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.fitting import check_checkpoint, fit
from knowledge_distillation.training.loaders import one_loader
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.optimizers import OptimizerFactory
from knowledge_distillation.training.pipelines import InferencePipeline
from knowledge_distillation.training.schedules import ScheduleFactory
from knowledge_distillation.training.tracking import csv_logger, trackers
from knowledge_distillation.training.trainer import make_trainer


@dataclass(frozen=True, slots=True)
class Run:
    """What one training left behind.

    Attributes:
        student: the very module that was passed in, trained, on the device it trained on.
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
    )
    run_directory = open_directory(directory, resume)
    checkpoint = _checkpoint_to_resume(run_directory, resume)
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
        "objective": {name: _describe(term) for name, term in module.objective.terms.items()},
        "training": {
            "max_epochs": max_epochs,
            "optimizer": _describe(optimizer),
            "learning_rate": learning_rate,
            "schedule": _describe(schedule),
            "warm_up_epochs": warm_up_epochs,
            "adapter": _describe(adapter),
            "temperature": temperature,
            "seed": seed,
            "trainer": {key: _describe(value) for key, value in (trainer or {}).items()},
        },
        "teacher": _describe(teacher),
        "student": _describe(student),
    }
    if engine.is_global_zero:
        (run_directory / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    started = time.monotonic()
    fit(engine, module, one_loader(train_loader), checkpoint)
    if engine.is_global_zero:
        save_model(module.student_model, str(run_directory / "student.safetensors"))
        environment = {
            **environment_facts(),
            "seed": seed,
            "teacher": None if module.teacher is None else module.teacher.fingerprint,
            "seconds": round(time.monotonic() - started, 3),
            "scores": module.scores,
            "interrupted": engine.interrupted,
        }
        (run_directory / "environment.json").write_text(json.dumps(environment, indent=2), encoding="utf-8")
    return Run(student=module.student_model, scores=dict(module.scores), directory=run_directory, module=module)


def check_arguments(train_loader: Any, val_loaders: Any, max_epochs: Any, seed: Any) -> None:
    """Raise ConfigError for loaders and counts that cannot work, before anything is written."""
    if not isinstance(train_loader, Iterable):
        raise ConfigError(
            f"train_loader must be iterable, such as a torch DataLoader; got {type(train_loader).__name__}."
        )
    if loader_length(train_loader) == 0:
        raise ConfigError("The train loader is empty: 0 batches. Check the dataset, and drop_last with a small one.")
    if val_loaders is not None and not isinstance(val_loaders, Mapping):
        raise ConfigError(f"val_loaders must be a dict of name -> loader, got {type(val_loaders).__name__}.")
    for name, loader in (val_loaders or {}).items():
        if not isinstance(name, str) or not name or any(letter in name for letter in ":{}[]") or not name.isprintable():
            raise ConfigError(f"A validation loader's name must be text without : {{ }} [ ] on one line, got {name!r}.")
        if not isinstance(loader, Iterable):
            raise ConfigError(f"The validation loader {name!r} must be iterable, got {type(loader).__name__}.")
        if loader_length(loader) == 0:
            raise ConfigError(f"The validation loader {name!r} is empty, so it could never be scored.")
    if isinstance(max_epochs, bool) or not isinstance(max_epochs, int) or max_epochs < 1:
        raise ConfigError(f"max_epochs must be a whole number of at least 1, got {max_epochs!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed!r}.")


def loader_length(loader: Any) -> int | None:
    """Batches an epoch, or None where the loader does not know."""
    try:
        return len(loader)
    except TypeError:
        return None


def open_directory(directory: str | Path | None, resume: str | Path | None) -> Path:
    """Make the directory of a run, or raise ConfigError if another run lies there and is not to be continued."""
    if directory is None:
        number = 1
        while (path := Path("runs") / f"run-{number:03d}").exists():
            number += 1
    else:
        path = Path(directory)
    if resume is None and any((path / name).exists() for name in ("metrics.csv", "checkpoints", "student.safetensors")):
        raise ConfigError(
            f"{path} already holds a run, which would be overwritten. Choose another directory, or continue it with "
            "resume='auto'."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The run directory {path} cannot be made: {error}") from error
    return path


def _checkpoint_to_resume(directory: Path, resume: str | Path | None) -> str | None:
    if resume is None or str(resume) == "":
        return None
    path = directory / "checkpoints" / "last.ckpt" if str(resume) == "auto" else Path(resume)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint to resume from at {path}.")
    return str(path)


def _describe(value: Any) -> Any:
    """Plain data for recipe.yaml: values as they are, objects by their type and settings."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _describe(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(entry) for entry in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _describe(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, nn.Module) and hasattr(value, "facts"):
        settings = {
            key: _describe(entry) for key, entry in vars(value).items() if not key.startswith("_") and key != "training"
        }
        return {"name": type(value).__name__, **settings}
    return getattr(value, "__qualname__", type(value).__qualname__)


def environment_facts() -> dict[str, Any]:
    """Versions and hardware of this process, as plain data."""
    packages = ("knowledge-distillation-toolkit", "torch", "lightning", "torchmetrics", "safetensors", "numpy")
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }
