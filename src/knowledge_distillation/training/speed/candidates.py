"""Which settings are safe for these models on this device, and worth a try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from knowledge_distillation.capture.valid_tokens import find_head
from knowledge_distillation.teachers import LiveTeacher, Teacher
from knowledge_distillation.training.speed.changes import IMPLEMENTATION, weights_to_lay_out, weights_to_round
from knowledge_distillation.training.speed.settings import Settings

HALVES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to try on top of what was found good so far.

    Attributes:
        name: for the line that is printed.
        added: settings so far -> settings with this one as well.
    """

    name: str
    added: Callable[[Settings], Settings]


def live_teachers(teacher: Teacher | None) -> list[LiveTeacher]:
    """The modules that answer on every batch behind a teacher: itself or its members. A follower's copy is left out."""
    if isinstance(teacher, LiveTeacher):
        return [teacher]
    return [live for member in getattr(teacher, "members", ()) for live in live_teachers(member)]


def options(
    student: nn.Module,
    teachers: Sequence[LiveTeacher],
    heads: Sequence[str | None],
    device: torch.device,
    autocast: torch.dtype | None,
) -> list[Option]:
    """What to try, cheapest first.

    - channels_last for 2-d convolutions, on a CPU and with CUDA.
    - The teacher's head on valid tokens only, on a CPU: on a GPU it would wait for the device once a step.
    - The teacher's weights in autocast's precision, where the student trains in mixed precision: autocast rounds these
      weights at every call, so the answers are the same. In full precision they would not be.
    - torch.compile, with CUDA only: on a CPU it costs minutes and a C++ compiler.

    Args:
        student: about to be trained.
        teachers: live ones.
        heads: of every teacher; see `find_head`.
        device: where the training runs.
        autocast: the precision of a mixed precision training, or None.
    """
    voices = [teacher.model for teacher in teachers]
    found = []
    if device.type in ("cpu", "cuda") and weights_to_lay_out([student, *voices]):
        found.append(Option("channels_last", lambda now: replace(now, channels_last=True)))
    if device.type == "cpu" and any(heads):
        found.append(Option("the teacher's head on valid tokens only", lambda now: replace(now, valid_tokens=True)))
    half: Any = HALVES.get(autocast) if autocast is not None else None
    if half and any(weights_to_round(voice) for voice in voices):
        found.append(Option(f"the teacher's weights in {half}", lambda now: replace(now, teacher_precision=half)))
    if device.type == "cuda":
        if voices and not any(_is_compiled(voice) for voice in voices):
            found.append(Option("teacher compiled", lambda now: replace(now, compile="teacher")))
        if not _is_compiled(student):
            found.append(Option("student compiled", _with_student))
    return found


def heads_of(teachers: Sequence[LiveTeacher], batch: Any) -> list[str | None]:
    """The last linear layer of every language teacher, by path."""
    return [find_head(teacher.model, teacher.adapter, batch, teacher.temperature) for teacher in teachers]


def _with_student(now: Settings) -> Settings:
    return replace(now, compile="both" if now.compiles("teacher") else "student")


def _is_compiled(model: nn.Module) -> bool:
    return any(vars(module).get(IMPLEMENTATION) is not None for module in model.modules()) or any(
        isinstance(module, torch._dynamo.OptimizedModule) for module in model.modules()
    )
