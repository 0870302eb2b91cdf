"""The Teacher interface: what training asks of every source of teaching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.signals import Signals


@runtime_checkable
class Teacher(Protocol):
    """A source of teacher signals. Not an nn.Module on purpose: it enters no optimiser, checkpoint or DDP wrapper."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever the teacher's answers could."""

    def prepare(self, device: torch.device) -> None:
        """Move to the device and freeze; called once before the first batch."""

    def signals(self, batch: Any, wanted: Sequence[str] = ()) -> Signals:
        """What the teacher says about a batch, without gradient.

        Args:
            batch: one training batch on the prepared device.
            wanted: module paths whose outputs must be among the features.
        """

    def release(self) -> None:
        """Undo `prepare`: remove hooks and give flags back as they were."""


@runtime_checkable
class FollowsStudent(Protocol):
    """What a `Teacher` offers besides, if it changes with the student, as `EMATeacher` does. Training then calls it."""

    def after_step(self, student: nn.Module) -> None:
        """Take in the student's weights; called after every optimiser step."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data for the checkpoint: unlike other teachers, this one cannot be made again."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


@runtime_checkable
class ReadsStudent(Protocol):
    """What a `Teacher` offers besides, if it answers from the student's signals, as `SelfTeacher` does."""

    def reads(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The student's signals that it needs to give the wanted ones."""

    def from_student(self, student: Signals) -> Signals:
        """What is taught on this batch; asked in place of `signals`.

        Args:
            student: what the objective and this teacher read of the student, with graph.
        """


def as_teacher(teacher: Teacher | nn.Module, **live_settings: Any) -> Teacher:
    """Take a Teacher as it is; wrap an nn.Module as a `LiveTeacher` with the given settings.

    Raises:
        ConfigError: if it is neither.
    """
    from knowledge_distillation.teachers.live import LiveTeacher

    if isinstance(teacher, nn.Module):
        return LiveTeacher(teacher, **live_settings)
    if isinstance(teacher, Teacher) and not isinstance(teacher, type):
        return teacher
    raise ConfigError(
        "teacher must be an nn.Module or a Teacher (signals, fingerprint, prepare, release), "
        f"got {teacher.__name__ if isinstance(teacher, type) else type(teacher).__name__}."
    )
