"""A small convolutional student and teacher, a clock that says what a test wants, and a training with a speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.training.loaders import Batches
from knowledge_distillation.training.speed import Settings
from knowledge_distillation.training.speed.measuring import Trial
from tests.training.toys import (
    CLASSES,
    Losses,
    quiet_trainer,
    seeded,
)

IMAGES = Batches(
    [
        (torch.randn(6, 3, 8, 8, generator=seeded(n)), torch.randint(CLASSES, (6,), generator=seeded(n)))
        for n in range(4)
    ]
)


class Cnn(nn.Module):
    """Convolutions with batch statistics and dropout; `read` gets the last map before it is pooled."""

    def __init__(self, seed: int, width: int = 4, read: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Linear(width, CLASSES)
        self.read = read
        generator = seeded(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.drop(torch.relu(self.body(torch.relu(self.norm(self.stem(images))))))
        return self.head(self.read(hidden).mean(dim=(2, 3)))


def strides(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tensor.stride() for name, tensor in model.state_dict(keep_vars=True).items()}


def pretend(
    monkeypatch: pytest.MonkeyPatch, module: DistillationModule, cost: Callable[[Settings], float]
) -> list[Any]:
    """Steps take what `cost` says, in milliseconds, and run all the same; returns the settings that were timed."""
    timed: list[Settings] = []
    real = Trial.milliseconds

    def milliseconds(trial: Trial) -> float:
        real(trial)
        timed.append(module.speed.settings)
        return cost(module.speed.settings)

    monkeypatch.setattr(Trial, "milliseconds", milliseconds)
    return timed


def faster_in_channels_last(settings: Settings) -> float:
    return 1.0 if settings.channels_last else 2.0


def train(
    speed: Any, *, student: nn.Module | None = None, teacher: Any = None, **settings: Any
) -> tuple[Any, list[float]]:
    losses = Losses()
    module = DistillationModule(student or Cnn(1), teacher or Cnn(2, 6), "kd", learning_rate=0.01, speed=speed)
    before = settings.pop("before", lambda module: None)
    before(module)
    trainer = quiet_trainer(**{"max_epochs": 2, **settings, "callbacks": [losses, *settings.get("callbacks", [])]})
    torch.manual_seed(0)
    trainer.fit(module, IMAGES)
    return module, losses.values


def without_dropout(model: Cnn) -> Cnn:
    model.drop.p = 0.0
    return model
