"""Run by a test, once a process: `distill` where a process dies, leaves or fails while the other cannot notice."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from knowledge_distillation.training import watching
from tests.ranks import settings_of
from tests.run.test_distill import Noisy, train
from tests.training.toys import loader

BATCH = 5


class Left(Callback):
    """In the middle of the training the second process dies or raises; the first one waits, deaf as within gloo."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx != BATCH or self.how == "well":
            return
        if trainer.global_rank == 0:
            time.sleep(60)
        elif self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("Only here.")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        print("trained.")
        if self.how == "well":
            os._exit(0)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.strategy.barrier()
        if self.how == "well" and trainer.global_rank == 0:
            time.sleep(4 * watching.GRACE)  # the other has ended long before


def main(directory: Path, how: str) -> None:
    watching.GRACE = 0.5
    train(
        directory,
        student=Noisy(),
        train_loader=loader(64, batch_size=4, shuffle=True),
        val_loaders=None,
        pipeline=None,
        max_epochs=1,
        trainer={"devices": 2, "strategy": "ddp", "callbacks": [Left(how)], "enable_checkpointing": False},
    )


if __name__ == "__main__":
    folder, settings = settings_of(sys.argv)
    try:
        main(folder, **settings)
    except ValueError:
        time.sleep(6 * watching.GRACE)  # a process that lives on after its training has failed
        print("lives on.")
