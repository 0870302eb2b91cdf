"""Signals by role, for objectives that fit any model: "@stages", "@last", "@classifier", "@attention", ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from knowledge_distillation.capture.layers import Layer, layers
from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.capture.reader import INPUT, WEIGHT
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.objective.preactivations import preactivations
from knowledge_distillation.objective.term import SignalName

ROLES = {
    "@stages": "the last layer of every spatial size (convolutional) or every layer (transformers), as several",
    "@last": "the last such layer",
    "@middle": "the middle one of them",
    "@pooled": "the last map that has as many channels as the last linear layer reads; the last layer where none has",
    "@preactivations": "what goes into the activation at the end of each of the @stages, as several",
    "@embedding": "what goes into the last linear layer",
    "@classifier": "the weight of the last linear layer",
    "@attention": "queries, keys and values of the last self-attention, as three",
}
ATTENTION_PARTS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))
"""Names that BERT and its kin, DistilBERT, and OPT, CLIP, Whisper and Llama give to the three linear layers."""


def find_role(role: str, model: nn.Module, example: Any, whose: str) -> SignalName:
    """Names of the signals that play a role in a model.

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
        raise ConfigError(f"There is no role {role!r} that a layer of the {whose} could play. {nearest(role, ROLES)}")
    if role in ("@embedding", "@classifier"):
        return (INPUT if role == "@embedding" else WEIGHT) + last_linear(role, model, whose)
    if role == "@attention":
        return last_attention(model, whose)
    found = layers(model, example, None)
    stages = _stages(found, whose)
    if role == "@pooled":
        return _pooled(found, model) or stages[-1]
    if role == "@preactivations":
        return preactivations(model, example, stages, whose)
    played: dict[str, SignalName] = {"@stages": stages, "@last": stages[-1], "@middle": stages[(len(stages) - 1) // 2]}
    return played[role]


def last_linear(role: str, model: nn.Module, whose: str) -> str:
    """Path of the last linear layer, or ConfigError that names the role it should play."""
    linear = [path for path, module in modules_by_path(model).items() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(f"The {whose} has no linear layer, so {role!r} names nothing. Name a module path.")
    return linear[-1]


def last_attention(model: nn.Module, whose: str) -> tuple[str, ...]:
    """Paths of the linear layers that give queries, keys and values in the last self-attention.

    Raises:
        ConfigError: if there is none, or it packs the three into one matrix.
    """
    known = modules_by_path(model)
    found = [
        tuple(f"{path}.{name}".lstrip(".") for name in names)
        for path in known
        for names in ATTENTION_PARTS
        if all(isinstance(known.get(f"{path}.{name}".lstrip(".")), nn.Linear) for name in names)
    ]
    if found:
        return found[-1]
    packed = [path for path, module in known.items() if isinstance(module, nn.MultiheadAttention)]
    why = (
        f"its attention ({packed[-1]!r}) is an nn.MultiheadAttention, which packs the three into one matrix and gives "
        "none of them out"
        if packed
        else f"none of its modules holds linear layers named as {' or '.join(map(str, ATTENTION_PARTS))}"
    )
    raise ConfigError(
        f"'@attention' needs the queries, keys and values of the {whose}, and {why}. Name the paths of three linear "
        "layers, or let an adapter give the three as a feature."
    )


def _pooled(found: Sequence[Layer], model: nn.Module) -> str | None:
    linear = [module for module in modules_by_path(model).values() if isinstance(module, nn.Linear)]
    fitting = [
        layer for layer in found if linear and len(layer.shape) == 4 and layer.shape[1] == linear[-1].in_features
    ]
    wide = [layer for layer in fitting if layer.shape[2:] != (1, 1)]  # a pooled one says as much, but not where
    return next((layer.path for layer in reversed(wide or fitting)), None)


def _stages(found: Sequence[Layer], whose: str) -> tuple[str, ...]:
    ends: dict[tuple[int, ...], str] = {}
    for layer in found:
        is_map = len(layer.shape) == 4
        if is_map and layer.shape[2:] == (1, 1):
            continue
        ends[layer.shape[2:] if is_map else (len(ends), -1)] = layer.path
    if not ends:
        raise ConfigError(f"The {whose} has no feature map or hidden state to match. Name module paths.")
    return tuple(ends.values())


def in_place_of_roles(names: SignalName, found: Mapping[str, SignalName]) -> SignalName:
    """The names with every role replaced by what plays it; a role of several among several is spread out.

    Args:
        names: one signal or several.
        found: role -> what plays it.
    """
    if isinstance(names, str):
        return found.get(names, names)
    spread: list[str] = []
    for name in names:
        played = found.get(name, name)
        spread += [played] if isinstance(played, str) else played
    return tuple(spread)
