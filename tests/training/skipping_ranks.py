"""Run by a test, once a process: one process alone sees a loss that is not finite, as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from lightning.pytorch import Callback
from torch import Tensor, distributed, nn

from knowledge_distillation import DistillationModule
from tests.ranks import settings_of
from tests.training.toys import loader, mlp, quiet_trainer

BAD = 2
"""The step whose loss is infinite in the second process, with gradients that are finite."""


class Infinite(nn.Module):
    """A loss that is infinite once, in one process."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        self.calls += 1
        value = (student - teacher).square().mean()
        return value + float("inf") if self.calls == BAD and distributed.get_rank() == 1 else value


class Steps(Callback):
    """The sum of the weights after every batch."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        self.weights.append(sum(float(p.detach().double().sum()) for p in pl_module.student_model.parameters()))


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    steps = Steps()
    module = DistillationModule(
        mlp(1), mlp(9), {"it": Infinite()}, optimizer="sgd", learning_rate=0.1, nonfinite="skip"
    )
    trainer = quiet_trainer(devices=2, strategy="ddp", callbacks=[steps])
    trainer.fit(module, loader(64))
    found = {"weights": steps.weights, "steps": trainer.global_step}
    (folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(settings_of(sys.argv)[0])
