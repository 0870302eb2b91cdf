"""A Lightning Trainer with the toolkit's defaults: CSV metrics, last and best checkpoint, progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler

from knowledge_distillation.accepted import check_accepted, is_finite_number
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.training.checkpoint_io import DurableCheckpointIO
from knowledge_distillation.training.last_checkpoint import LastCheckpoint
from knowledge_distillation.training.launched import launched
from knowledge_distillation.training.pipelines import higher_is_better
from knowledge_distillation.training.progress import EpochLines, LossProgressBar
from knowledge_distillation.training.watching import Watch

NOTHING = nullcontext()
PLAIN = (bool, int, float, str, list, dict, type(None))
LEAST: Mapping[str, int] = {
    "log_every_n_steps": 1, "check_val_every_n_epoch": 1, "accumulate_grad_batches": 1, "num_nodes": 1,
    "max_steps": -1, "max_epochs": -1, "min_steps": 0, "min_epochs": 0, "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0, "gradient_clip_val": 0,
    "limit_train_batches": 0, "limit_val_batches": 0, "overfit_batches": 0, "val_check_interval": 0,
}  # fmt: skip


class NoProfiler(PassThroughProfiler):
    """Times nothing. Lightning's own, which does not either, opens a generator for it some 20 times a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return NOTHING


def checkpoint_callback(
    directory: Path | None, *, metric: str | None, pipeline: Any = None, keep: int = 3, counts_versions: bool = True
) -> ModelCheckpoint:
    """Keep the best checkpoints by validation score; by the mean training loss where nothing validates.

    Args:
        directory: where to write, or None for Lightning's default beside the logger.
        metric: the validation loader whose score decides, or None.
        pipeline: may say `higher_is_better`.
        keep: how many of the best to keep.
        counts_versions: whether a file of the same name stays and the new one gets a number; a run that goes on from
            before such a file writes that very file again.

    File names read student-epoch=003-<metric>=0.91234.ckpt.
    """
    monitor = metric or "train_final_loss_epoch"
    better = "max" if metric and higher_is_better(pipeline, metric) else "min"
    shown = re.sub(r"[^A-Za-z0-9_.-]+", "_", metric) if metric else "train_final_loss"
    return ModelCheckpoint(
        dirpath=directory,
        filename=f"student-epoch={{epoch:03d}}-{shown}={{{monitor}:.5f}}",
        auto_insert_metric_name=False,
        monitor=monitor,
        mode=better,
        save_top_k=keep,
        save_on_train_epoch_end=metric is None,
        enable_version_counter=counts_versions,
    )


def durable(plugins: Any) -> list[Any]:
    """The user's plugins, and checkpoints that are whole or not there unless the user brings another way to write."""
    given = [plugins] if plugins is not None and not isinstance(plugins, (list, tuple)) else list(plugins or [])
    return given if any(isinstance(plugin, CheckpointIO) for plugin in given) else [*given, DurableCheckpointIO()]


def make_trainer(
    directory: Path,
    *,
    max_epochs: int,
    loggers: Sequence[Logger],
    metric: str | None,
    pipeline: Any,
    steps_per_epoch: int | None,
    overrides: Mapping[str, Any],
    checkpoint_every: int | None = None,
) -> Trainer:
    """Build the Trainer of one run.

    Args:
        directory: the run's directory.
        max_epochs: epochs to train.
        loggers: where metrics go.
        metric: validation loader that chooses the best checkpoint.
        pipeline: scores that loader.
        steps_per_epoch: batches an epoch, where the loader knows; metrics are logged at least once an epoch.
        overrides: any argument of `lightning.Trainer`; callbacks are added to the toolkit's own. Under torchrun or
            srun, devices and nodes are by default those that were started.
        checkpoint_every: optimiser steps between two last.ckpt within an epoch; None for one every ten minutes.

    Raises:
        ConfigError: if an override is no argument of the Trainer, or Lightning refuses its value.
    """
    check_settings(overrides)
    settings = dict(overrides)
    places = directory / "checkpoints"
    best = checkpoint_callback(places, metric=metric, pipeline=pipeline, counts_versions=False)
    callbacks: list[Callback] = [best, LastCheckpoint(places, checkpoint_every)]
    if settings.get("enable_checkpointing") is False:
        callbacks = []
    callbacks.insert(0, Watch())  # the others must hear of an exception before anything is done about it
    if settings.get("logger") is not False and loggers:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    if settings.get("enable_progress_bar") is None:
        settings["enable_progress_bar"] = sys.stderr.isatty() or sys.stdout.isatty()
        callbacks.append(LossProgressBar(leave=True) if settings["enable_progress_bar"] else EpochLines())
    settings["plugins"] = durable(settings.get("plugins"))
    given = settings.pop("callbacks", None) or []
    callbacks += [given] if isinstance(given, Callback) else list(given)
    defaults: dict[str, Any] = {
        "max_epochs": max_epochs,
        "logger": list(loggers) or False,
        "log_every_n_steps": max(1, min(50, steps_per_epoch or 50)),
        "enable_model_summary": False,
        "profiler": NoProfiler(),
        "inference_mode": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(directory),
        **launched(),
    }
    return trainer_with({**defaults, **settings, "callbacks": callbacks})


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for arguments of `lightning.Trainer` that it takes without a word and cannot mean."""
    check_accepted("The trainer cannot be built", Trainer, settings)
    for name, least in LEAST.items():
        value = settings.get(name)
        if isinstance(value, (int, float)) and not (is_finite_number(value) and value >= least):
            raise ConfigError(
                f"The trainer cannot be built: {name} must be a finite number of at least {least}, got {value!r}."
            )


def trainer_with(settings: Mapping[str, Any]) -> Trainer:
    """`lightning.Trainer(**settings)`, with its refusals as ConfigError."""
    check_settings(settings)
    try:
        return Trainer(**settings)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        hint = nearest(unknown.group(1), Trainer.__init__.__annotations__) if unknown else ""
        raise ConfigError(f"The trainer cannot be built: {error}. {hint or _meant(settings, error)}") from error
    except Exception as error:  # Lightning raises its own MisconfigurationException, ValueError and RuntimeError
        raise ConfigError(f"The trainer cannot be built: {error}. {_meant(settings, error)}") from error


def _meant(settings: Mapping[str, Any], error: Exception) -> str:
    """The settings that an error speaks of; all plain ones where it names none."""
    plain = {name: value for name, value in settings.items() if isinstance(value, PLAIN)}
    return f"It was given { ({name: value for name, value in plain.items() if name in str(error)} or plain) }."
