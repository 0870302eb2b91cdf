"""Memory runs out in the forward or the backward pass of a training step, at any step and any number of samples."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.faults.kind import Kind
from tests.run.test_distill import train
from tests.training.toys import loader, mlp

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Needs(nn.Module):
    """A student for which memory suffices for so many samples, from some step of its training on."""

    def __init__(self, limit: int, step: int, where: str) -> None:
        super().__init__()
        self.model, self.limit, self.step, self.where = mlp(1), limit, step, where
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += self.training
        fails = self.training and self.calls > self.step and len(inputs) > self.limit
        if fails and self.where == "forward":
            raise torch.OutOfMemoryError(MESSAGE)
        hidden = self.model.act(self.model.hidden(inputs))
        if fails:  # the head has its gradient by then
            hidden.register_hook(self.refuse)
        outputs: Tensor = self.model.head(hidden)
        return outputs

    def refuse(self, gradient: Tensor) -> None:
        raise torch.OutOfMemoryError(MESSAGE)


def weights(directory: Path, student: nn.Module, accumulated: int, optimizer: str) -> list[Tensor]:
    settings: dict[str, Any] = {"optimizer": optimizer, "learning_rate": 0.3, "doctor": False}
    settings["train_loader"] = loader(60, batch_size=16, shuffle=True)  # the last batch has 12
    settings["objective"] = {"kd": {"loss": "kd", "temperature": 2.0}, "cross_entropy": 0.5}
    trainer = {"accumulate_grad_batches": accumulated}
    return list(train(directory, student=student, trainer=trainer, **settings).student.parameters())


def inject(number: int, folder: Path) -> None:
    draws = random.Random(number)
    accumulated, optimizer = 1 + number % 3, ("sgd", "sgd_momentum")[number % 2]
    limit, where = draws.choice((1, 3, 5, 8, 15)), ("forward", "backward")[number // 2 % 2]
    student = Needs(limit, draws.randrange(6), where)
    whole = weights(folder / "whole", Needs(99, 0, ""), accumulated, optimizer)
    parts = weights(folder / "parts", student, accumulated, optimizer)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


KIND = Kind(
    title="memory runs out in a step, forward or backward",
    survives="the batch is taken in parts of half the size, down to one sample; weights within 1e-6 of the whole batch",
    inject=inject,
    all=20,
    sample=2,
)
