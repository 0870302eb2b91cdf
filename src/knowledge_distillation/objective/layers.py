"""Layers by role, for objectives that fit any model: "@stages", "@last", "@middle", "@embedding"."""

from __future__ import annotations

from typing import Any

from torch import nn

from knowledge_distillation.capture.layers import layers
from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.objective.term import SignalName

ROLES = {
    "@stages": "the last layer of every spatial size (convolutional) or every layer (transformers), as several",
    "@last": "the last such layer",
    "@middle": "the middle one of them",
    "@embedding": "what goes into the last linear layer",
}


def find_role(role: str, model: nn.Module, example: Any, whose: str) -> SignalName:
    """Module paths that play a role in a model.

    Args:
        role: a key of `ROLES`.
        model: any module; run once on the example, in eval mode, without gradient.
        example: one batch, as for `capture.describe`.
        whose: "student" or "teacher", for messages.

    Raises:
        ConfigError: if the role is unknown, or the model has nothing to play it.
        CaptureError: if no layer is found.
    """
    if role not in ROLES:
        raise ConfigError(f"There is no role {role!r}. {nearest(role, ROLES)}")
    if role == "@embedding":
        linear = [path for path, module in modules_by_path(model).items() if isinstance(module, nn.Linear)]
        if not linear:
            raise ConfigError(f"The {whose} has no linear layer, so '@embedding' names nothing. Name a module path.")
        return f"input:{linear[-1]}"
    ends: dict[tuple[int, ...], str] = {}
    for layer in layers(model, example, None):
        is_map = len(layer.shape) == 4
        if is_map and layer.shape[2:] == (1, 1):
            continue
        ends[layer.shape[2:] if is_map else (len(ends), -1)] = layer.path
    if not ends:
        raise ConfigError(f"The {whose} has no feature map or hidden state to match. Name module paths.")
    paths = tuple(ends.values())
    played: dict[str, SignalName] = {"@stages": paths, "@last": paths[-1], "@middle": paths[(len(paths) - 1) // 2]}
    return played[role]
