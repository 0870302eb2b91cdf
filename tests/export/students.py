"""Small students of every kind that is shipped, and data for them."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.training.toys import filled, seeded

FEATURES, CLASSES = 6, 4


def mlp(hidden: int = 48) -> nn.Module:
    layers = OrderedDict(hidden=nn.Linear(FEATURES, hidden), act=nn.ReLU(), head=nn.Linear(hidden, CLASSES))
    return filled(nn.Sequential(layers), 3)


def lopsided(student: nn.Module, factor: float = 300.0) -> nn.Module:
    """The same function, hard to round: one hidden unit is so large that the others share a few of its steps.

    Below 1 the unit is small, and its weights in the head are so large that the others share a few of their steps.
    relu(c x) = c relu(x), so what goes into the unit may be multiplied and what comes out of it divided (Nagel et al.,
    2019, arXiv:1906.04721, section 3).
    """
    busiest = int(student.head.weight.abs().sum(dim=0).argmax())
    with torch.no_grad():
        student.hidden.weight[busiest] *= factor
        student.hidden.bias[busiest] *= factor
        student.head.weight[:, busiest] /= factor
    return student


def cnn() -> nn.Module:
    """With batch statistics that are not those of a fresh layer, and a pool of unequal bins."""
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(144, CLASSES),
    )
    filled(net, 5)
    net[1].running_mean.copy_(torch.rand(8, generator=seeded(1)))
    net[1].running_var.copy_(1 + torch.rand(8, generator=seeded(2)))
    return net


def labelled(model: nn.Module, inputs: Tensor, batch_size: int = 8) -> DataLoader[Any]:
    """Inputs with the labels that the model itself gives, so that its accuracy is 1."""
    model.eval()
    with torch.no_grad():
        labels = model(inputs).argmax(dim=-1)
    model.train()
    return DataLoader(TensorDataset(inputs, labels), batch_size=batch_size)


def points(count: int = 20) -> Tensor:
    return torch.randn(count, FEATURES, generator=seeded(0))


def images(count: int = 12) -> Tensor:
    return torch.randn(count, 1, 7, 7, generator=seeded(0))


class TokenModel(nn.Module):
    """Called by keyword as Hugging Face's models are; returns a mapping with more than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.head = nn.Linear(16, CLASSES)
        self.config = SimpleNamespace(use_cache=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        kept = attention_mask[..., None].float()
        hidden = self.embed(input_ids) * kept
        pooled = hidden.sum(dim=1) / kept.sum(dim=1)
        return {
            "logits": self.head(pooled),
            "hidden_states": (hidden, pooled),
            "past_key_values": object() if self.config.use_cache else None,
        }


class TwoInputs(nn.Module):
    """Positional inputs, and a tuple out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, CLASSES), nn.Linear(3, CLASSES)

    def forward(self, points: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(points) + self.right(extra), self.right(extra)


class WithTemperature(nn.Module):
    """The original toolkit's contract."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor, temperature: float = 1.0) -> dict[str, Any]:
        logits = self.net(inputs)
        soft = logits / temperature
        return {
            "prob": soft.softmax(-1),
            "log_prob": soft.log_softmax(-1),
            "logits": logits,
            "loss": {"own": logits.mean()},
        }


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(20, 8), nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(input_ids))[0][:, -1])


class Branching(nn.Module):
    """Its control flow depends on values."""

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.sum() > 0:
            return hidden
        return -hidden


class Eigen(nn.Module):
    """Its operator has no counterpart in ONNX."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.linalg.eigvals(hidden.unsqueeze(-1) * hidden.unsqueeze(-2)).abs()


class FixedBatch(nn.Module):
    """Looks as if it took any batch, and has the example's size in its code."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + torch.arange(float(len(hidden.tolist())))[:, None]


class Wordy(nn.Module):
    def forward(self, hidden: Tensor) -> str:
        return "cat"


def inside(module: nn.Module) -> nn.Module:
    """A student with this module at "body.1"."""
    body = nn.Sequential(nn.Linear(FEATURES, CLASSES), module)
    return nn.Sequential(OrderedDict(stem=nn.Identity(), body=body))
