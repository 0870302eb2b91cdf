"""last.ckpt: where a run goes on, written at every epoch's end, every so often within one, and where it stops."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.training.agreeing import Agreement
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.stopping import StopRequest

logger = logging.getLogger(__name__)
SECONDS = 600.0
"""Longest time without a checkpoint, where no number of steps is given."""


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt, and obeys Ctrl-C and SIGTERM once the step at hand is done and written.

    Of several processes any one may be asked: all of them stop, after the same step, about a second later.

    Args:
        folder: where; None for beside the best checkpoints.
        every_steps: optimiser steps between two checkpoints; None for one every ten minutes. The end of an epoch
            always gives one.

    Raises:
        ConfigError: if every_steps is no whole number of at least 1.
    """

    def __init__(self, folder: Path | None, every_steps: int | None = None) -> None:
        if every_steps is not None:
            check_whole("checkpoint_every", every_steps, unit="steps")
        self.folder, self.every_steps = folder, every_steps
        self.stop = StopRequest()
        self._processes = Agreement()
        self._step, self._time = 0, time.monotonic()

    def path(self, trainer: Trainer) -> Path:
        """Of last.ckpt."""
        best = (callback.dirpath for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
        return Path(self.folder or next(best, None) or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step, self._time = trainer.global_step, time.monotonic()
        self.stop.begin()  # only now, since Lightning has taken SIGTERM over before
        self._processes.begin(trainer.world_size)
        # Lightning asks the first process before every step whether SIGTERM came, and on a GPU waits for the answer.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stops, late = self._processes.heard(self.stop.received or 0, int(self._is_late()))
        if stops or late or self._is_due(trainer) or _ends_within(trainer):
            self._save(trainer)
        self._obey(stops)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Nothing changes while a student is scored, so there is no step to finish first.
        self.stop.at_once = trainer.world_size == 1
        if self.stop.at_once:
            self.stop.obey()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.at_once = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # what was written within an epoch that is not over goes on there, should the training be given more steps
        if trainer.global_step > 0 and not (_ends_within(trainer) and self._step == trainer.global_step):
            self._save(trainer)
        self._obey(*self._processes.heard(self.stop.received or 0, now=True))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.stop.at_once and self.stop.received is not None:
            self._save(trainer)
        self.stop.at_once = False
        self.stop.end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.end()

    def _is_due(self, trainer: Trainer) -> bool:
        return self.every_steps is not None and trainer.global_step >= self._step + self.every_steps

    def _is_late(self) -> bool:
        return self.every_steps is None and time.monotonic() > self._time + SECONDS

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path(trainer), weights_only=False)
        self._step, self._time = trainer.global_step, time.monotonic()

    def _obey(self, signal: int) -> None:
        if signal:
            self.stop.received = signal  # perhaps by another process
            self.stop.obey()


def _ends_within(trainer: Trainer) -> bool:
    """Whether the training ends with this step though its epoch has more batches."""
    is_enough = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    return (is_enough or trainer.should_stop) and not trainer.is_last_batch


def set_last_aside(folder: Path) -> None:
    """Rename the last.ckpt of an earlier run to the next free last-NNN.ckpt, so that it is not written over."""
    last = folder / "last.ckpt"
    if last.exists():
        last.rename(next_free(folder, "last-{:03d}.ckpt"))
