"""Try a training step without taking it: its answer and its time, with models and random state left as they were."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.losses import Projected
from knowledge_distillation.signals import OUTPUTS, Signals
from knowledge_distillation.training.random_state import random_state, restore_random_state

Losses = Callable[[], tuple[Tensor, Signals | None]]
"""One forward of both models on the first batch: the total loss with its graph, and what the teacher said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one step says.

    Attributes:
        loss: the total.
        teacher: the teacher's floating signals by name, at valid positions where there is a mask.
        gradients: of every trained parameter; None for one that has none.
    """

    loss: float
    teacher: dict[str, Tensor]
    gradients: list[Tensor | None]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training step that can be repeated: forward, loss and backward, without the optimiser's step.

    Gradients go to no `.grad`, so neither accumulation nor DDP's exchange takes part.

    Attributes:
        losses: the forward.
        precision: makes the context that the forward runs in, such as autocast's.
        module: holds what is trained; its buffers, such as batch statistics, are put back.
        device: to wait for before the clock is read.
    """

    losses: Losses
    precision: Callable[[], AbstractContextManager[Any]]
    module: nn.Module
    device: torch.device

    def step(self) -> tuple[Tensor, Signals | None, tuple[Tensor | None, ...]]:
        """The loss, the teacher's signals and the gradients of one step."""
        with self.precision():
            total, taught = self.losses()
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return total, taught, torch.autograd.grad(total, parameters, allow_unused=True)

    def answer(self) -> Answer:
        """What a step says with dropout layers switched off: a faster setting may draw other random numbers."""
        with as_before(self.module), without_dropout(self.module):
            total, taught, gradients = self.step()
            return Answer(float(total.detach()), _floating(taught), list(gradients))

    def milliseconds(self) -> float:
        """How long one step takes on the wall clock."""
        with as_before(self.module):
            self._wait()
            started = time.perf_counter()
            self.step()
            self._wait()
            return 1e3 * (time.perf_counter() - started)

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Put every random generator and every buffer back as they were."""
    state = random_state()
    held = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in held:
                buffer.copy_(value)
                module._buffers[name] = buffer
        restore_random_state(state)


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Switch dropout layers off, and back as they were."""
    layers = [module for module in model.modules() if isinstance(module, _DropoutNd)]
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = False
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


def differences(first: Answer, second: Answer) -> dict[str, float]:
    """How far a second answer is from the first: of the "loss", the teacher's "signals" and the "gradient".

    Returns:
        Each relative to the first: |difference| / |first| of the loss and, by Euclidean norm, of all gradients
        together; of the signals the largest difference over the largest magnitude, the worst of all signals. Where only
        one of the two is finite or present, infinity.
    """
    gap: list[Tensor] = []
    size: list[Tensor] = []
    for one, other in zip(first.gradients, second.gradients, strict=True):
        if one is None and other is None:
            continue
        kept = one if one is not None else torch.zeros_like(other)  # type: ignore[arg-type]
        changed = other if other is not None else torch.zeros_like(kept)
        gap.append((kept.detach().float() - changed.detach().float()).norm())
        size.append(kept.detach().float().norm())
    signals = 0.0 if first.teacher.keys() == second.teacher.keys() else math.inf
    for name in first.teacher.keys() & second.teacher.keys():
        signals = max(signals, _gap(first.teacher[name], second.teacher[name]))
    return {
        "loss": _relative(abs(first.loss - second.loss), abs(first.loss)),
        "signals": signals,
        "gradient": _relative(float(torch.stack(gap).norm()), float(torch.stack(size).norm())) if gap else 0.0,
    }


def _gap(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        return math.inf
    if not first.numel():
        return 0.0
    one, other = first.float(), second.float()
    apart = torch.where(one == other, torch.zeros_like(one), one - other)  # infinities that agree do not differ
    return _relative(float(apart.abs().max()), float(one[one.isfinite()].abs().max()) if one.isfinite().any() else 0.0)


def _relative(gap: float, size: float) -> float:
    return math.inf if not math.isfinite(gap) else gap / max(size, 1e-12)


def _floating(signals: Signals | None) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if signals is None:
        return found

    def keep(name: str) -> Callable[[Any], Any]:
        def add(leaf: Any) -> Any:
            if isinstance(leaf, Projected):
                leaf = leaf.hidden
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                leaf = leaf.detach()
                mask = signals.mask
                fits = name in OUTPUTS and mask is not None and mask.shape == leaf.shape[:-1]
                found[f"{name} {len(found)}"] = leaf[mask] if fits else leaf
            return leaf

        return add

    for name in OUTPUTS:
        map_leaves(getattr(signals, name), keep(name))
    for name, feature in signals.features.items():
        map_leaves(feature, keep(name))
    return found
