"""Data that draws at random, and a callback that breaks a training off; for tests that it goes on exactly."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.training.toys import points


class Jittered(Dataset[Any]):
    """Samples that draw from all three generators."""

    def __init__(self) -> None:
        self.inputs, self.labels = points(24).tensors

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.rand(1) + random.random() + np.random.rand()
        return (self.inputs[index] + 0.1 * noise).float(), self.labels[index]


class StopsAt(Callback):
    """Sends a signal to this process when so many batches were begun."""

    def __init__(self, batch: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number = batch, number

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def jittered(workers: int = 0, **settings: Any) -> DataLoader[Any]:
    return DataLoader(Jittered(), batch_size=4, num_workers=workers, **{"shuffle": True, **settings})
