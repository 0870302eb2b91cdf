"""What a training asks for its speed: look at the first batch, convert the next ones, hand the models back."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.teachers import Teacher
from knowledge_distillation.training.speed.candidates import heads_of, live_teachers, options
from knowledge_distillation.training.speed.changes import Changes, plain, weights_to_lay_out, weights_to_round
from knowledge_distillation.training.speed.choosing import FULL, MIXED, Choice, Together, choose
from knowledge_distillation.training.speed.measuring import Losses, Trial
from knowledge_distillation.training.speed.settings import Settings

logger = logging.getLogger(__name__)
SAVED = "speed"


class SpeedUp:
    """The settings of one training, from its first batch to its end.

    Args:
        asked: "off" changes nothing; "auto" tries; `Settings` are put on as they are.
        student: about to be trained.
        teacher: the training's.
    """

    def __init__(self, asked: Literal["auto", "off"] | Settings, student: nn.Module, teacher: Teacher | None) -> None:
        self.asked = asked
        self.is_due = False
        self.converts = False
        self.line = ""
        """What was chosen and why, as it was printed."""
        self.chosen = Settings()
        """What the latest training ran with."""
        self._changes = Changes(student, live_teachers(teacher))
        self._resumed: Settings | None = None
        self._on_device = ""

    @property
    def settings(self) -> Settings:
        """What the models have on now."""
        return self._changes.settings

    def expect(self) -> None:
        """A training begins; its first batch comes next."""
        self.is_due = self.asked != "off"

    def begin(self, module: LightningModule, batch: Any, losses: Losses) -> None:
        """Choose by the first batch and put the choice on; print one line.

        Args:
            module: its trained parameters and buffers are the student's and the objective's.
            batch: on the device.
            losses: one forward on this batch.
        """
        self.is_due = False
        trainer, device = module.trainer, module.device
        self._on_device = device.type
        precision = trainer.precision_plugin.train_step_context
        with precision():
            heads = heads_of(self._changes.teachers, batch)
            autocast = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        exact = autocast is None and all(p.dtype not in (torch.bfloat16, torch.float16) for p in module.parameters())
        choice: Choice
        if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            name = type(trainer.strategy).__name__
            choice = Choice(Settings(), f"speed: nothing changed: {name} may shard the models, which must stay whole.")
        elif isinstance(self.asked, Settings):
            choice = Choice(self.asked, f"speed: {self.asked.shown}, as asked.{self._idle(self.asked, heads)}")
        elif self._resumed is not None:
            choice = Choice(self._resumed, f"speed: {self._resumed.shown}, as before the resume.")
        else:

            def losses_of_now() -> Any:
                self.converts = self.settings.channels_last
                return losses()

            trial = Trial(losses_of_now, precision, module, device)
            tried = options(self._changes.student, self._changes.teachers, heads, device, autocast)
            together = Together(trainer.strategy.broadcast, trainer.strategy.reduce_boolean_decision)
            choice = choose(
                lambda settings: self._changes.put_on(settings, heads), trial, tried, FULL if exact else MIXED, together
            )
        self._changes.put_on(choice.settings, heads)
        self.converts = choice.settings.channels_last
        self._changes.match(trainer.optimizers)
        if self.converts:  # DDP lays its buckets out anew after the first step
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self._resumed = None
        self.chosen, self.line = choice.settings, choice.line
        if trainer.is_global_zero:
            _show(choice.line)

    def _idle(self, asked: Settings, heads: list[str | None]) -> str:
        """Which of the settings meet nothing that they could change."""
        teachers = [teacher.model for teacher in self._changes.teachers]
        meets = {
            "channels_last": bool(weights_to_lay_out([self._changes.student, *teachers])),
            "valid_tokens": any(heads),
            "teacher_precision": any(weights_to_round(teacher) for teacher in teachers),
        }
        idle = [
            name for name, meets_any in meets.items() if getattr(asked, name) not in (False, "same") and not meets_any
        ]
        idle += ["compile of the teacher"] if asked.compiles("teacher") and not teachers else []
        return f" Without effect on these models: {', '.join(idle)}." if idle else ""

    def converted(self, batch: Any) -> Any:
        """The batch as the models want it."""
        return self._changes.converted(batch)

    def end(self, trainer: Trainer | None) -> None:
        """Hand the models back as they came."""
        self.is_due = self.converts = False
        had = self.settings
        self._changes.forget()
        if had.channels_last and trainer is not None:
            self._changes.match(trainer.optimizers)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Write the choice into a checkpoint, and its tensors in plain layout."""
        if self.asked == "off" or self.is_due:
            return
        checkpoint[SAVED] = {"device": self._on_device, "settings": asdict(self.chosen)}
        for part in ("state_dict", "optimizer_states"):
            if self.settings.channels_last and part in checkpoint:
                checkpoint[part] = map_leaves(checkpoint[part], plain)

    def load(self, checkpoint: Mapping[str, Any], device: torch.device) -> None:
        """Take the choice of a checkpoint of the same kind of device, so that a resumed run goes on as it was."""
        saved = checkpoint.get(SAVED)
        if self.asked == "auto" and saved is not None and saved["device"] == device.type:
            self._resumed = Settings(**saved["settings"])


def _show(line: str) -> None:
    """As a log line where logging shows it, else on stderr: it is the answer to what the user asked for."""
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info(line)
    else:
        sys.stderr.write(line + "\n")
