"""Progress of a training: a bar with the losses in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

logger = logging.getLogger(__name__)


class LossProgressBar(RichProgressBar):
    """Epoch, step, speed and time left, and the objective's components as of the last logged step."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown = dict(super().get_metrics(trainer, pl_module))
        shown.pop("v_num", None)
        latest = getattr(pl_module, "latest", {})
        return {**shown, **{name: float(value) for name, value in latest.items()}}


class EpochLines(Callback):
    """One log line an epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        numbers = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith("grad_")}
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in numbers.items())
        logger.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, shown)
