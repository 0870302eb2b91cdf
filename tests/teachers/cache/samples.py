"""Data sets that draw random numbers, and small caches, for the tests of this folder."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from knowledge_distillation.domains.vision import digits
from knowledge_distillation.teachers import write_cache
from tests.training.toys import CLASSES, FEATURES, filled, points


class Drawn(Dataset[Any]):
    """Real digits, changed by transforms that draw from torch's, NumPy's and Python's generators."""

    def __init__(self, count: int = 40) -> None:
        self.rows = digits().train.dataset
        self.count = count
        self.change = v2.Compose(
            [v2.RandomCrop(8, padding=1), v2.RandomHorizontalFlip(), v2.RandomRotation(20), v2.GaussianNoise()]
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.rows[index]
        scale = random.uniform(0.5, 1.5)
        return self.change(image) * scale + float(np.random.normal(0, 0.1)), label


class Words(Dataset[Any]):
    """Sentences of unequal length; a teacher's answers stand at their tokens, wherever padding puts those."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Tensor:
        return torch.randint(1, 50, (2 + index % 5,), generator=torch.Generator().manual_seed(index))


def padded(side: str) -> Any:
    """A collate function that pads on one side."""

    def collate(rows: list[Tensor]) -> dict[str, Tensor]:
        length = max(map(len, rows))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for place, row in enumerate(rows):
            start = 0 if side == "right" else length - len(row)
            ids[place, start : start + len(row)] = row
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    return collate


class Reads(nn.Module):
    """Token logits from each token alone, so that padding cannot matter."""

    def __init__(self, width: int = 6, seed: int = 3) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, width), nn.Linear(width, 50)
        filled(self, seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.embed(input_ids))}


class OneByOne(nn.Linear):
    """A linear layer that multiplies and adds number by number.

    A row of a matrix product may be rounded by how many rows stand beside it; a row of this cannot. What a test finds
    to differ between two caches, or between a cache and a live teacher, is then not the processor's doing.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        total: Tensor = self.bias.expand(len(inputs), -1)
        for column, weights in zip(inputs.unbind(1), self.weight.unbind(1), strict=True):
            total = total + column.unsqueeze(1) * weights
        return total


def steady(seed: int = 1, hidden: int = 8) -> nn.Sequential:
    """The function of `toys.mlp`, with the same answer to a sample, to the last bit, in every batch."""
    layers = OrderedDict(hidden=OneByOne(FEATURES, hidden), act=nn.ReLU(), head=OneByOne(hidden, CLASSES))
    model = nn.Sequential(layers)
    filled(model, seed)
    return model


def rows_loader(count: int = 24, batch_size: int = 8) -> DataLoader[Any]:
    return DataLoader(points(count), batch_size=batch_size)


def small_cache(directory: Path, teacher: nn.Module, count: int = 24, **settings: Any) -> Path:
    write_cache(teacher, rows_loader(count), directory, {"logits": "float32"}, **settings)
    return directory
