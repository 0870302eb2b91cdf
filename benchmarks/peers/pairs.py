"""What every arm trains: two pairs of models with their batches, the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from knowledge_distillation.domains.vision.models import resnet20, resnet56

TEMPERATURE, SOFT_WEIGHT, LEARNING_RATE = 4.0, 0.9, 0.01
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A teacher, a student and the shape of one batch.

    Attributes:
        models: builds (teacher, student).
        batch: shape of the inputs of one batch.
        steps: steps a round by default.
    """

    models: Callable[[], tuple[nn.Module, nn.Module]]
    batch: tuple[int, ...]
    steps: int

    def build(self) -> tuple[nn.Module, nn.Module]:
        """The same weights for whoever asks; the teacher in eval mode."""
        torch.manual_seed(0)
        teacher, student = self.models()
        return teacher.eval(), student.train()

    def batches(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """Inputs and labels in memory, the same for whoever asks; eight of them, over and over."""
        torch.manual_seed(1)
        kept = [(torch.randn(self.batch), torch.randint(0, CLASSES, self.batch[:1])) for _ in range(min(count, 8))]
        return [kept[number % len(kept)] for number in range(count)]


def _mlps() -> tuple[nn.Module, nn.Module]:
    teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    return teacher, nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES))


PAIRS: Mapping[str, Pair] = {
    "resnet56_to_resnet20": Pair(lambda: (resnet56(), resnet20()), (64, 3, 32, 32), steps=8),
    "tiny_mlp": Pair(_mlps, (32, 64), steps=500),
}
