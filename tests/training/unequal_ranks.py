"""Texts of unequal lengths, and a training on them; run by a test, once a process, it writes the weights as JSON."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from knowledge_distillation import DistillationModule
from knowledge_distillation.teachers.live import full
from tests.ranks import settings_of
from tests.training.rank_losses import strategy
from tests.training.toys import quiet_trainer

CLASSES, LENGTHS = 7, (6, 1, 3, 2)


class Tagger(nn.Module):
    """Scores for every token, by the token alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(11, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.table(input_ids)}


def texts() -> list[dict[str, Tensor]]:
    """Four texts of six tokens, of which LENGTHS count."""
    drawn = torch.Generator().manual_seed(3)
    ids = torch.randint(11, (4, 6), generator=drawn)
    labels = torch.randint(CLASSES, (4, 6), generator=drawn)
    mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    labels = labels.masked_fill(~mask, -100)
    return [
        {"input_ids": row, "attention_mask": there, "labels": target}
        for row, there, target in zip(ids, mask, labels, strict=True)
    ]


def trained(size: int, objective: Any, kind: type[Tagger] = Tagger, **trainer: Any) -> Tensor:
    """The student's weights after one step on all texts, so many at a time."""
    student = kind(1)
    module = DistillationModule(student, Tagger(2), objective, optimizer="sgd", learning_rate=1.0)
    quiet_trainer(**trainer).fit(module, DataLoader(texts(), batch_size=size))
    return student.table.weight.detach()


OBJECTIVE = {"forward_kl": 1.0, "cross_entropy": 0.5}


def main(folder: Path, sharded: bool = False) -> None:
    warnings.simplefilter("ignore")
    weights = full(trained(1, OBJECTIVE, devices=2, strategy=strategy(2, sharded), accumulate_grad_batches=2))
    rank = torch.distributed.get_rank()
    (folder / f"rank_{rank}.json").write_text(json.dumps({"weights": weights.tolist()}))


if __name__ == "__main__":
    folder, settings = settings_of(sys.argv)
    main(folder, **settings)
