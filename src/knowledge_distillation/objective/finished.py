"""The student as it is shipped, where a method leaves parts of its loss in it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.capture.reader import INPUT
from knowledge_distillation.capture.taps import Taps
from knowledge_distillation.errors import ConfigError


@runtime_checkable
class Stays(Protocol):
    """What a loss offers besides, if the student needs its learned parts at inference, as `SimKD` does."""

    @property
    def stays(self) -> bool:
        """Whether it can answer alone: it holds everything behind the student's features."""

    def student_logits(self, student_features: Tensor) -> Tensor:
        """What the finished student answers, from the features that the loss compares."""


class FinishedStudent(nn.Module):
    """A student that answers through the parts which a loss learned with it.

    Args:
        student: the trained student; called as before, up to the layer that the loss reads.
        loss: a `Stays`; its parts are sub-modules, saved and moved with the student.
        path: the layer that the loss reads.
    """

    def __init__(self, student: nn.Module, loss: nn.Module, path: str) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.path = path

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """The logits; arguments as the student's own."""
        path = self.path.removeprefix(INPUT)
        with Taps(self.student, path, "input" if path != self.path else "output") as taps:
            self.student(*inputs, **named)
        logits: Tensor = self.loss.student_logits(taps[path])  # type: ignore[operator]
        return logits


def finished(student: nn.Module, loss: Any, signal: Any) -> nn.Module:
    """The student itself, or with the parts of a loss that stay with it.

    Args:
        student: trained.
        loss: of a term that is ready.
        signal: what the term reads of the student.

    Raises:
        ConfigError: if the loss stays with the student and reads several signals, or one that is no layer.
    """
    if not isinstance(loss, nn.Module) or not isinstance(loss, Stays) or not loss.stays:
        return student
    if not isinstance(signal, str) or signal.removeprefix(INPUT) not in dict(unwrap(student).named_modules()):
        raise ConfigError(
            f"{type(loss).__name__} gives the finished student its last layers, so it must read one layer of the "
            f"student, and reads {signal!r}. Name a module path."
        )
    return FinishedStudent(student, loss, signal)
