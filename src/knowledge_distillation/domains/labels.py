"""Data of which only a part keeps its labels."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError

UNLABELLED = -100


def keep_labels(labels: Tensor, count: int | None, seed: int) -> Tensor:
    """Labels with all but `count` of them, drawn evenly over the classes, replaced by -100.

    Raises:
        ConfigError: if `count` is below 1 or above the number of labels.
    """
    if count is None:
        return labels
    if not 1 <= count <= len(labels):
        raise ConfigError(f"labelled must be from 1 to {len(labels)}, got {count}.")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(operator.index(seed)))
    rank = torch.zeros_like(labels)
    for category in torch.unique(labels):
        members = order[labels[order] == category]
        rank[members] = torch.arange(len(members))
    kept = order[torch.sort(rank[order], stable=True).indices[:count]]
    sparse = torch.full_like(labels, UNLABELLED)
    sparse[kept] = labels[kept]
    return sparse
