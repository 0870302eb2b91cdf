"""Embeddings of many texts by a model, with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.rows import IDS, Padded


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
    pad = Padded(0)  # the mask hides it
    found = []
    with undisturbed(model):
        for begin in range(0, len(order), batch_size):
            batch = pad([{IDS: torch.tensor(rows[at])} for at in order[begin : begin + batch_size]])
            found.append(model(batch[IDS].to(device), batch["attention_mask"].to(device)).float().cpu())
    embeddings = torch.cat(found)
    return embeddings[torch.tensor(order).argsort()]
