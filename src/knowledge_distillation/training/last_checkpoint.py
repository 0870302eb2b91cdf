"""last.ckpt: where a run goes on, written at every epoch's end, every so often within one, and when asked to stop."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.stopping import StopRequest

logger = logging.getLogger(__name__)
SECONDS = 600.0
"""Longest time without a checkpoint, where no number of steps is given."""


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt, and obeys Ctrl-C and SIGTERM once the step at hand is done and written.

    Args:
        folder: where; None for beside the best checkpoints.
        every_steps: optimiser steps between two checkpoints; None for one every ten minutes. The end of an epoch
            always gives one.

    Raises:
        ConfigError: if every_steps is no whole number of at least 1.
    """

    def __init__(self, folder: Path | None, every_steps: int | None = None) -> None:
        check_steps(every_steps)
        self.folder, self.every_steps = folder, every_steps
        self.stop = StopRequest()
        self._step, self._time = 0, time.monotonic()

    def path(self, trainer: Trainer) -> Path:
        """Of last.ckpt."""
        best = (callback.dirpath for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
        return Path(self.folder or next(best, None) or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step, self._time = trainer.global_step, time.monotonic()
        self.stop.begin()  # only now, since Lightning has taken SIGTERM over before

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stops = _any_rank(trainer, self.stop.received is not None)
        if stops or self._is_due(trainer):
            self._save(trainer)
        if stops:
            self._obey()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Nothing changes while a student is scored, so there is no step to finish first.
        self.stop.at_once = trainer.world_size == 1
        if self.stop.at_once:
            self.stop.obey()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.at_once = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            self._save(trainer)
        if _any_rank(trainer, self.stop.received is not None):
            self._obey()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.stop.at_once and self.stop.received is not None:
            self._save(trainer)
        self.stop.at_once = False
        self.stop.end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.end()

    def _is_due(self, trainer: Trainer) -> bool:
        if self.every_steps is not None:
            return trainer.global_step >= self._step + self.every_steps
        return trainer.world_size == 1 and time.monotonic() > self._time + SECONDS

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path(trainer), weights_only=False)
        self._step, self._time = trainer.global_step, time.monotonic()

    def _obey(self) -> None:
        self.stop.obey()
        raise KeyboardInterrupt  # another rank was asked


def check_steps(every_steps: Any) -> None:
    """Raise ConfigError unless `checkpoint_every` is None or a whole number of steps of at least 1."""
    if every_steps is not None and (
        isinstance(every_steps, bool) or not isinstance(every_steps, int) or every_steps < 1
    ):
        raise ConfigError(f"checkpoint_every must be a whole number of steps of at least 1, got {every_steps!r}.")


def set_last_aside(folder: Path) -> None:
    """Rename the last.ckpt of an earlier run to the next free last-NNN.ckpt, so that it is not written over."""
    last = folder / "last.ckpt"
    if last.exists():
        last.rename(next_free(folder, "last-{:03d}.ckpt"))


def _any_rank(trainer: Trainer, mine: bool) -> bool:
    if trainer.world_size == 1:
        return mine
    flag = torch.tensor(float(mine), device=trainer.strategy.root_device)
    return bool(trainer.strategy.reduce(flag, reduce_op="sum") > 0)
