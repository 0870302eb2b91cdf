"""Embeddings of many texts by a model, with little padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_distillation.capture.calls import undisturbed


def embedded(model: nn.Module, rows: Sequence[Sequence[int]], *, batch_size: int = 64) -> Tensor:
    """The embeddings of texts, in their order.

    Args:
        model: token ids and mask -> embeddings; it is called in eval mode without gradient.
        rows: token ids of each text.
        batch_size: texts at a time, those of like length together.

    Returns:
        float32 [texts, dimensions], on the CPU.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
    found = []
    with undisturbed(model):
        for begin in range(0, len(order), batch_size):
            ids, mask = _padded([rows[at] for at in order[begin : begin + batch_size]])
            found.append(model(ids.to(device), mask.to(device)).float().cpu())
    embeddings = torch.cat(found)
    return embeddings[torch.tensor(order).argsort()]


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of texts, int64 [texts, tokens of the longest]; both are 0 behind a text's end.

    They are filled in one go: a tensor for each text would take longer than static embeddings do.
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
