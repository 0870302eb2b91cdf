"""Token ids, masks and padding of a batch of sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.doctor.loaders import CannotTell

MASKS = ("attention_mask", "mask", "token_mask", "padding_mask")
IGNORED = -100
ALL = 0.95
LEAST_ROWS, LEAST_SHARE = 0.25, 0.05


def token_ids(content: Any) -> Tensor:
    """The token ids of a batch, int64, shape [samples, length].

    Raises:
        CannotTell: if it holds none.
    """
    positional, named, _ = split_batch(content)
    if isinstance(named.get("input_ids"), Tensor):
        return _checked(named["input_ids"])
    for leaf in positional:
        if isinstance(leaf, Tensor) and leaf.dim() == 2 and leaf.dtype in (torch.int64, torch.int32):
            return _checked(leaf)
    raise CannotTell("the batches hold no token ids")


def _checked(ids: Tensor) -> Tensor:
    if ids.dim() != 2:
        raise CannotTell("the token ids are no [samples, length]")
    return ids


def repeats_inputs(batch: Any, labels: Tensor) -> bool:
    """Whether the labels are the tokens at their own places, as those are that a language model shifts itself."""
    try:
        ids = token_ids(getattr(batch, "content", batch))
    except CannotTell:
        return False
    counts = labels != IGNORED
    if ids.shape != labels.shape or not bool(counts.any()):
        return False
    return float((ids.to(labels.device) == labels)[counts].float().mean()) >= ALL


def next_labels(labels: Tensor) -> Tensor:
    """Each place with the label of the next, -100 at the last."""
    return torch.cat([labels[:, 1:], labels.new_full((len(labels), 1), IGNORED)], dim=1)


def steps(content: Any) -> Tensor:
    """What of a batch is a sequence: token ids [samples, length], or frames [samples, length, width].

    Raises:
        CannotTell: if it holds neither.
    """
    try:
        return token_ids(content)
    except CannotTell:
        positional, named, _ = split_batch(content)
        for leaf in (*positional, *named.values()):
            if isinstance(leaf, Tensor) and leaf.dim() == 3 and leaf.is_floating_point():
                return leaf
        raise CannotTell("the batches hold no sequences") from None


def mask_of(content: Any) -> Tensor | None:
    """The mask that comes with a batch, True where a step counts, shape [samples, length]."""
    if not isinstance(content, Mapping):
        return None
    found = next((content[name] for name in MASKS if isinstance(content.get(name), Tensor)), None)
    return found.bool() if found is not None and found.dim() == 2 else None


def padding(sequences: Tensor) -> Tensor | None:
    """Where padding seems to be, from the sequences alone: runs of one id, or of zeros, at one end of many rows.

    Args:
        sequences: from `steps`.

    Returns:
        True at padding, shape [samples, length]; None where there is none to see.
    """
    if len(sequences) < 4 or sequences.shape[1] < 4:
        return None
    if sequences.dim() == 3:
        return _runs((sequences == 0).all(dim=-1))
    for ids in (sequences, sequences.flip(1)):
        last = int(ids[:, -1].mode().values)
        found = _runs(ids == last)
        if found is not None:
            return found if ids is sequences else found.flip(1)
    return None


def _runs(same: Tensor) -> Tensor | None:
    """The run of True at the end of each row if it looks like padding: many rows, unequal lengths, seldom elsewhere."""
    runs = same.flip(1).long().cumprod(dim=1).flip(1).bool()
    lengths = runs.sum(dim=1)
    elsewhere = int((same & ~runs).sum())
    is_padding = (
        float((lengths >= 2).float().mean()) >= LEAST_ROWS
        and float(runs.float().mean()) >= LEAST_SHARE
        and len(torch.unique(lengths)) > 1
        and elsewhere <= 0.1 * int(runs.sum())
    )
    return runs if is_padding else None
