"""Several teachers handled as one: prepared, asked, fingerprinted and released together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import OUTPUTS, Signals
from knowledge_distillation.teachers.teacher import FollowsStudent, Teacher, as_teacher


class Members:
    """The members of an ensemble.

    Args:
        teachers: Teachers or nn.Modules; modules become `LiveTeacher`s with the given adapter.
        adapter: (model, batch, temperature) -> Signals, for members that are modules.
        temperature: handed to the adapter, > 0.
        least: how many members there must be.

    Raises:
        ConfigError: if there are too few, one is neither a Teacher nor a module, or one follows the student.
    """

    def __init__(
        self, teachers: Sequence[Teacher | nn.Module], *, adapter: Adapter, temperature: float, least: int = 1
    ) -> None:
        self.teachers = [as_teacher(teacher, adapter=adapter, temperature=temperature) for teacher in teachers]
        if len(self.teachers) < least:
            raise ConfigError(f"At least {least} teachers are needed, got {len(self.teachers)}.")
        followers = [type(teacher).__name__ for teacher in self.teachers if isinstance(teacher, FollowsStudent)]
        if followers:
            raise ConfigError(
                f"{followers[0]} follows the student, which only a teacher alone is shown: as one of several it would "
                "stay as it was at the start. Let it teach alone."
            )

    def __len__(self) -> int:
        return len(self.teachers)

    def fingerprint(self, *settings: object) -> str:
        """sha256 over every member's fingerprint, in order, and what else decides the answer."""
        parts = [*(teacher.fingerprint for teacher in self.teachers), *map(repr, settings)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def prepare(self, device: torch.device) -> None:
        """Prepare every member."""
        for teacher in self.teachers:
            teacher.prepare(device)

    def release(self) -> None:
        """Release every member, the others too if one fails."""
        failure: BaseException | None = None
        for teacher in self.teachers:
            try:
                teacher.release()
            except BaseException as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def answers(self, batch: Any, wanted: Sequence[str]) -> list[Signals]:
        """What every member says; logits of all in one shape, [*batch, classes].

        Args:
            batch: one training batch.
            wanted: what the objective reads; only "logits" and "log_probs" can be combined.

        Raises:
            ConfigError: if something else is wanted.
            ModelContractError: if a member gives no logits.
            ShapeError: if members differ in their shapes.
        """
        inner = [name for name in wanted if name not in OUTPUTS]
        if inner:
            raise ConfigError(
                f"Several teachers are combined by their logits, and a term reads {inner} of them: layers of different "
                "models have no mean. Compare logits, or distil that layer from one of the teachers."
            )
        answers = [teacher.signals(batch, ("logits",)) for teacher in self.teachers]
        shapes = [tuple(logits_of(answer, place).shape) for place, answer in enumerate(answers)]
        if len(set(shapes)) > 1:
            raise ShapeError(
                f"All teachers must give logits of one shape [*batch, classes], got {shapes}. A narrower one would be "
                "stretched over classes it does not know. Give the teachers the same classes in the same order."
            )
        return answers


def logits_of(answer: Signals, place: int) -> Tensor:
    """The logits of one member's answer.

    Raises:
        ModelContractError: if it gave none.
    """
    if isinstance(answer.logits, TopK):
        raise ModelContractError(
            f"Teacher {place} gave only its likeliest classes, which cannot be combined with what others say. Use "
            "a teacher that gives every class, or this one alone."
        )
    if answer.logits is None:
        raise ModelContractError(
            f"Teacher {place} gave no logits: there is nothing to combine. Its adapter must return Signals(logits=...)."
        )
    logits: Tensor = answer.logits
    return logits
