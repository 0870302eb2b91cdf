"""Views: show both models each picture several times, and tell the answers apart afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.reader import WEIGHT
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.signals import Signals

Views = Literal["untouched", "transformed", "all"]
"""Which rows a term reads: view 0 of every sample, all the others, or [samples, views, ...]."""
TURNS = 4


def rotations(batch: Any) -> Any:
    """Each square picture four times, turned by 0, 90, 180 and 270 degrees, the four of one sample side by side.

    Args:
        batch: holds pictures, floating tensors [samples, channels, side, side], in any form. What else has one entry a
            sample (labels, index) is repeated with them.

    Returns:
        The batch in the same form, four times as long.

    Raises:
        ConfigError: if it holds no square picture.
    """
    samples: list[int] = []

    def note(leaf: Any) -> Any:
        if _is_picture(leaf):
            samples.append(len(leaf))
        return leaf

    map_leaves(batch, note)
    if not samples:
        raise ConfigError(
            "This objective compares rotated views, so a batch must hold pictures [samples, channels, side, side] with "
            "equal height and width; none came, and a quarter turn would change the shape of others. Crop the pictures "
            "to squares, or choose an objective without views."
        )

    def turned(leaf: Any) -> Any:
        if _is_picture(leaf):
            return torch.stack([leaf.rot90(turn, dims=(2, 3)) for turn in range(TURNS)], dim=1).flatten(0, 1)
        whole = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == samples[0]
        return leaf.repeat_interleave(TURNS, dim=0) if whole else leaf

    return map_leaves(batch, turned)


def of_views(signals: Signals, views: Views) -> Signals:
    """The rows of some views, from the signals of a batch that `rotations` made.

    Args:
        signals: every tensor with 4 rows a sample, but for weights of layers.
        views: which rows.
    """

    def rows(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or len(leaf) % TURNS:
            return leaf
        apart = leaf.reshape(-1, TURNS, *leaf.shape[1:])
        if views == "all":
            return apart
        return apart[:, 0] if views == "untouched" else apart[:, 1:].flatten(0, 1)

    def named(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value if name.startswith(WEIGHT) else map_leaves(value, rows) for name, value in tensors.items()}

    return replace(
        signals,
        logits=rows(signals.logits),
        log_probs=rows(signals.log_probs),
        mask=rows(signals.mask),
        feature_mask=rows(signals.feature_mask),
        labels=map_leaves(signals.labels, rows),
        features=named(signals.features),
        extras=named(signals.extras),
    )


def _is_picture(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() == 4 and leaf.shape[2] == leaf.shape[3]
