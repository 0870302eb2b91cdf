"""How one loss is declared to the laws: once, with real-shaped inputs and an oracle that is not our code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.losses import Loss, catalogue

Signal = Tensor | list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one call of a loss receives. Every tensor has the items on its first axis."""

    student: Signal
    teacher: Signal
    needs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword inputs such as labels; passed to function and module alike."""


def plain_call(inputs: Inputs, module: Loss, settings: Mapping[str, Any], **keywords: Any) -> Tensor:
    """Call the pure function named like the module with the case's settings."""
    function = next(entry.function for entry in catalogue().values() if entry.module is type(module))
    return function(inputs.student, inputs.teacher, **inputs.needs, **settings, **keywords)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One loss with one setting.

    `oracle` gives the "mean" value from float64 inputs with NumPy, SciPy or plain Python loops only: never
    with our own functions, never with the same torch one-liner.
    """

    name: str
    """The catalogue name."""
    inputs: Callable[[torch.Generator, int], Inputs]
    """(generator, batch) -> random float64 inputs with `batch` items."""
    oracle: Callable[[Inputs, Mapping[str, Any]], float]
    """(inputs, settings) -> the expected mean. A loss with learned parts gets them in settings["module"]."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword settings of the function, equal to those of the module."""
    module: Callable[..., Loss] | None = None
    """settings -> module; default: the catalogue's class called with the settings."""
    call: Callable[..., Tensor] = plain_call
    """(inputs, module, settings, **keywords) -> the pure function's value; replace it where the function takes
    learned parts (read them from `module`) or where student and teacher are lists."""
    item_axes: int = 1
    """How many leading axes of the student count items: the mask has that many axes, and so has "none"."""
    shared: tuple[str, ...] = ()
    """Names of needs that belong to the whole batch (weights of classes, a margin), not to single items."""
    fixed: tuple[str, ...] = ()
    """Names of real-valued settings that the checks must not move, because the oracle holds for these values only."""
    neighbours_meet: bool = False
    """Whether an item looks at those beside it in its sample, so that a sample cannot be computed in chunks."""
    fixed_width: bool = False
    """Whether the settings name classes, or a kernel needs every column, so that none may be cut off."""
    minimum_batch: int = 1
    """Relations between samples may need 2 or 3."""
    equality: Callable[[Inputs], Inputs] | None = None
    """Inputs at which the loss must be 0; default: the teacher takes the student's place."""
    label: str = ""
    """Tells two cases of one loss apart in test names."""

    def build(self) -> Loss:
        make = self.module or catalogue()[self.name].module
        torch.default_generator.manual_seed(0)
        return make(**self.settings)
