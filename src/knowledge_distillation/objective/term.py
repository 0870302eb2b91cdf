"""One term of an objective: which loss, between which signals, with which weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import loss_named

OWN = "own"
Schedule = Callable[[float], float]
"""Progress from 0 (start) to 1 (end of training) -> a factor."""
SignalName = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A loss, its weight and the two signals it compares.

    Args:
        loss: a `Loss`, any callable (student, teacher) -> scalar, a catalogue name such as "kd", or "own":
            the student's own loss term, named by `student`.
        weight: factor of the term, >= 0; 0 makes it a monitor: computed without gradient and logged only.
        student: a signal or module path of the student ("logits", "layer3.1"), or several as a tuple.
        teacher: the same for the teacher.
        projector: makes the student's signal comparable with the teacher's: a module, a name such as "linear",
            or "auto" (chosen from the shapes of the first batch). Trained with the student.
        schedule: progress from 0 to 1 -> factor on the weight.
        temperature: progress from 0 to 1 -> the loss's temperature, where the loss has one.

    Raises:
        ConfigError: if the weight is not a finite number >= 0, or the loss is no loss.
    """

    loss: str | Callable[..., Tensor]
    weight: float = 1.0
    student: SignalName = "logits"
    teacher: SignalName = "logits"
    projector: str | nn.Module | None = None
    schedule: Schedule | None = None
    temperature: Schedule | None = None

    def __post_init__(self) -> None:
        if isinstance(self.weight, bool) or not isinstance(self.weight, (int, float)) or not math.isfinite(self.weight):
            raise ConfigError(f"A term's weight must be a finite number, got {self.weight!r}.")
        if self.weight < 0:
            raise ConfigError(
                f"A term's weight must be at least 0, got {self.weight!r}: the student would be driven away."
            )
        if not isinstance(self.loss, str) and not callable(self.loss):
            raise ConfigError(f"A term's loss must be a name or a callable, got {type(self.loss).__name__}.")

    @property
    def is_monitor(self) -> bool:
        """Whether the term is only logged."""
        return self.weight == 0 and self.schedule is None


def term_from(spec: Any, name: str) -> Term:
    """A `Term` from what a recipe or a call gives: a Term, a loss, a loss name, a weight for the loss of this
    name, or a dict with "loss" and any of Term's fields; its further keys are the loss's settings.

    Raises:
        ConfigError: if the form or a key is wrong.
    """
    if isinstance(spec, Term):
        return spec
    if isinstance(spec, (int, float)) and not isinstance(spec, bool):
        return Term(loss_named(name), weight=spec)
    if isinstance(spec, str):
        return Term(spec if spec == OWN else loss_named(spec))
    if isinstance(spec, Mapping):
        fields = {key: value for key, value in spec.items() if key in Term.__dataclass_fields__ and key != "loss"}
        for side in ("student", "teacher"):
            if isinstance(fields.get(side), list):
                fields[side] = tuple(fields[side])
        settings = {key: value for key, value in spec.items() if key not in Term.__dataclass_fields__}
        if "temperature" in fields and not callable(fields["temperature"]):
            settings["temperature"] = fields.pop("temperature")
        loss = spec.get("loss", name)
        if isinstance(loss, str) and loss != OWN:
            loss = loss_named(loss, **settings)
        elif settings:
            raise ConfigError(
                f"Term {name!r} has unknown keys. {nearest(next(iter(settings)), Term.__dataclass_fields__)}"
            )
        return Term(loss, **fields)
    if callable(spec):
        return Term(spec)
    raise ConfigError(
        f"Term {name!r} must be a Term, a loss, a loss name, a weight or a dict with 'loss'; got {type(spec).__name__}."
    )
