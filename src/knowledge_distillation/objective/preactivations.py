"""What goes into the activation at the end of a stage, for methods that ask which neurons fire."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.description import default_tensor, paths_by_module, probe
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.capture.reader import INPUT
from knowledge_distillation.errors import ConfigError

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
)  # fmt: skip


@dataclass(slots=True)
class _End:
    """What was seen when a stage finished."""

    is_signed: bool
    activation: str | None
    """The activation that gave the stage's output, or the last one before it."""
    is_its_output: bool
    calls: int
    """How often that activation had been called by then."""


def preactivations(model: nn.Module, example: Any, stages: Sequence[str], whose: str) -> tuple[str, ...]:
    """One signal for each stage, before its last activation.

    Where a stage ends in an activation (with or without pooling behind it), what goes into that one; where its output
    still has both signs, as a linear bottleneck's, that output.

    Args:
        model: run once on the example.
        example: one batch, as for `capture.describe`.
        stages: paths of the layers, in the order in which they finish.
        whose: "student" or "teacher", for messages.

    Raises:
        ConfigError: if a stage ends in an activation that is no module of its own, or one that is called again later.
    """
    inner = unwrap(model)
    by_module = paths_by_module(inner)
    recent: dict[str, tuple[weakref.ref[Tensor], torch.Size]] = {}
    calls: Counter[str] = Counter()
    ends: dict[str, _End] = {}

    def read(module: nn.Module, output: Any) -> None:
        path, tensor = by_module[module], default_tensor(output)
        if tensor is None:
            return
        if isinstance(module, ACTIVATIONS):
            calls[path] += 1
            recent.pop(path, None)
            recent[path] = (weakref.ref(tensor), tensor.shape)
        if path in stages:
            ends[path] = _end(tensor, recent, calls)
            if path != stages[-1]:
                recent.clear()

    probe(inner, example, read)
    return tuple(_signal(stage, ends[stage], calls, whose) for stage in stages)


def _end(tensor: Tensor, recent: dict[str, tuple[weakref.ref[Tensor], torch.Size]], calls: Counter[str]) -> _End:
    giver = next((path for path, (held, _) in recent.items() if held() is tensor), None)
    # An output as large as an earlier activation's, and not the same tensor, went through something unseen.
    before = next((path for path, (_, shape) in reversed(recent.items()) if _is_pooled(tensor, shape)), None)
    chosen = giver or before
    return _End(
        is_signed=bool((tensor < 0).any()),
        activation=chosen,
        is_its_output=giver is not None,
        calls=calls[chosen] if chosen else 0,
    )


def _is_pooled(tensor: Tensor, before: torch.Size) -> bool:
    return tensor.shape[1] == before[1] and tensor.shape[2:] != before[2:]


def _signal(stage: str, end: _End, calls: Counter[str], whose: str) -> str:
    if end.is_signed and not end.is_its_output:
        return stage
    if end.activation is not None and calls[end.activation] == end.calls:
        return INPUT + end.activation
    why = (
        "its output has no negative value and comes from no activation module, as after torch.relu"
        if end.activation is None
        else f"its activation {end.activation!r} is called again in later stages, so that a tap reads another stage"
    )
    raise ConfigError(
        f"'@preactivations' needs the features before the activation at the end of the {whose}'s {stage!r}: {why}. "
        "After the activation no value is below 0, and which neurons are silent by how much is lost. Give each stage "
        "an nn.ReLU of its own, or name the paths of the layers before the activations."
    )
