"""The step as a reader of the paper would write it: a bare loop, and the reference of what all arms compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.pairs import LEARNING_RATE, SOFT_WEIGHT, TEMPERATURE, Pair


def hinton(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Hinton's loss, with torch's own functions."""
    soft = functional.kl_div(
        (student_logits / TEMPERATURE).log_softmax(-1),
        (teacher_logits / TEMPERATURE).softmax(-1),
        reduction="batchmean",
    )
    hard = functional.cross_entropy(student_logits, labels)
    return SOFT_WEIGHT * TEMPERATURE**2 * soft + (1 - SOFT_WEIGHT) * hard


class PlainLoop:
    """No library at all: the least that this training costs in eager PyTorch.

    Args:
        pair: models and batches.
        channels_last: images and weights of convolutions pixel by pixel, as a user can set it by hand.
        compiled: the forward, the loss and the backward through torch.compile; needs a C++ compiler.
    """

    def __init__(self, pair: Pair, *, channels_last: bool = False, compiled: bool = False) -> None:
        self.teacher, self.student = pair.build()
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        for model in (self.teacher, self.student):
            model.to(memory_format=self.layout)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=LEARNING_RATE)
        self.step_loss: Callable[[Any], Tensor] = torch.compile(self.loss) if compiled else self.loss

    def loss(self, batch: Any) -> Tensor:
        images, labels = batch
        images = images.to(memory_format=self.layout)
        with torch.no_grad():
            taught = self.teacher(images)
        return hinton(self.student(images), taught, labels)

    def train(self, batches: Iterable[Any]) -> None:
        for batch in batches:
            self.optimizer.zero_grad()
            self.step_loss(batch).backward()
            self.optimizer.step()

    def weights(self) -> Tensor:
        return flat(self.student)


def flat(model: nn.Module) -> Tensor:
    """A copy of all trainable weights as one vector."""
    return torch.cat([weight.detach().flatten().clone() for weight in model.parameters() if weight.requires_grad])
