"""TextBrewer's arm: its GeneralDistiller with its own training loop, without TensorBoard."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.pairs import LEARNING_RATE, SOFT_WEIGHT, TEMPERATURE, Pair
from benchmarks.peers.plain import flat


class TakesLabels(nn.Module):
    """A model for a distiller that hands the whole batch over."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Any:
        return self.model(images)


def teacher_says(batch: Any, output: Any) -> dict[str, Any]:
    return {"logits": (output,)}


def student_says(batch: Any, output: Any) -> dict[str, Any]:
    return {"logits": (output,), "losses": (functional.cross_entropy(output, batch[1]),)}


class Textbrewer:
    """The arm. Its soft loss is a cross-entropy: the same gradient, and the teacher's entropy more in the value."""

    def __init__(self, pair: Pair) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it compares strings with `is`
            from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
        self.teacher, self.student = pair.build()
        self.directory = tempfile.TemporaryDirectory()
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=LEARNING_RATE)
        self.distiller = GeneralDistiller(
            TrainingConfig(device="cpu", log_dir=None, output_dir=self.directory.name),
            DistillationConfig(
                temperature=TEMPERATURE,
                kd_loss_weight=SOFT_WEIGHT * TEMPERATURE**2,  # it does not know the squared temperature
                hard_label_weight=1 - SOFT_WEIGHT,
            ),
            TakesLabels(self.teacher),
            TakesLabels(self.student),
            teacher_says,
            student_says,
        )

    def loss(self, batch: Any) -> Tensor:
        total: Tensor = self.distiller.train_on_batch(batch, {})[0]
        with torch.no_grad():
            log_probs = (self.teacher(batch[0]) / TEMPERATURE).log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        without: Tensor = total - SOFT_WEIGHT * TEMPERATURE**2 * entropy
        return without

    def train(self, batches: Any) -> None:
        # its progress bar stays away where stderr is no terminal
        with self.distiller, contextlib.redirect_stderr(io.StringIO()):
            self.distiller.train(self.optimizer, batches, num_epochs=1)

    def weights(self) -> Tensor:
        return flat(self.student)
