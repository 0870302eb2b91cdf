"""Roles such as "@last", looked up once in the teacher that is being kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.fabric.utilities import move_data_to_device

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective.layers import find_role
from knowledge_distillation.teachers.live import LiveTeacher
from knowledge_distillation.teachers.teacher import Teacher


def layers_by_role(teacher: Teacher, roles: Iterable[str], batch: Any) -> dict[str, tuple[str, ...]]:
    """Role -> the signals that play it in the teacher.

    Args:
        teacher: a `LiveTeacher`, if any role is asked for.
        roles: keys of `objective.layers.ROLES`.
        batch: one batch of the data, on which the teacher is run once for each role.

    Raises:
        ConfigError: if roles are asked of a teacher without modules, or nothing plays one of them.
    """
    found: dict[str, tuple[str, ...]] = {}
    for role in roles:
        if not isinstance(teacher, LiveTeacher):
            raise ConfigError(f"{role!r} cannot be looked up in {type(teacher).__name__}. Name its signals instead.")
        positional, named, _ = split_batch(batch)
        device = next(teacher.model.parameters()).device
        names = find_role(role, teacher.model, move_data_to_device(named or positional, device), "teacher")
        found[role] = (names,) if isinstance(names, str) else tuple(names)
    return found
