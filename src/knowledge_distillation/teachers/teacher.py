"""The Teacher interface: what training asks of every source of teaching."""

from __future__ import annotations

from collections.abc import Sequence
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


def as_teacher(teacher: Teacher | nn.Module, **live_settings: Any) -> Teacher:
    """Take a Teacher as it is; wrap an nn.Module as a `LiveTeacher` with the given settings.

    Raises:
        ConfigError: if it is neither.
    """
    from knowledge_distillation.teachers.live import LiveTeacher

    if isinstance(teacher, nn.Module):
        return LiveTeacher(teacher, **live_settings)
    if isinstance(teacher, Teacher):
        return teacher
    raise ConfigError(
        "teacher must be an nn.Module or a Teacher (signals, fingerprint, prepare, release), "
        f"got {type(teacher).__name__}."
    )
