"""The least that the training costs in a Lightning Trainer: a module with nothing but the step."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from benchmarks.peers.lightning_fit import fit
from benchmarks.peers.pairs import LEARNING_RATE, Pair
from benchmarks.peers.plain import flat, hinton


class MinimalLightning:
    """A module that a reader of Lightning's first page would write, with torch's own loss functions."""

    def __init__(self, pair: Pair) -> None:
        self.module = _Module(pair)

    def loss(self, batch: Any) -> Tensor:
        return self.module.training_step(batch, 0)

    def train(self, batches: Any) -> None:
        fit(self.module, batches)

    def weights(self) -> Tensor:
        return flat(self.module.student)


class _Module(LightningModule):
    def __init__(self, pair: Pair) -> None:
        super().__init__()
        teacher, self.student = pair.build()
        self.teacher = [teacher]  # in a list, so that it is no part of the module

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        with torch.no_grad():
            taught = self.teacher[0](images)
        return hinton(self.student(images), taught, labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.student.parameters(), lr=LEARNING_RATE)
