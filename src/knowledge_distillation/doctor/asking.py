"""Ask the models about a batch so that nothing of it stays on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.errors import CaptureError, ConfigError
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import (
    BlackBoxTeacher,
    CachedTeacher,
    FollowsStudent,
    LiveTeacher,
    ReadsStudent,
    ServedTeacher,
    Teacher,
)
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.pipelines import to_device


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter lies."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def models_of(teacher: Teacher | None) -> list[nn.Module]:
    """The modules that a teacher in this process answers with; empty for others."""
    if isinstance(teacher, LiveTeacher):
        return [teacher.model]
    if isinstance(teacher, FollowsStudent):
        held = getattr(teacher, "model", None)
        return [held] if isinstance(held, nn.Module) else []
    return [model for member in getattr(teacher, "members", ()) for model in models_of(member)]


def is_at_hand(teacher: Teacher) -> bool:
    """Whether a question to the teacher costs nothing but a forward here: no request, no reading of a user's own."""
    if isinstance(teacher, (LiveTeacher, CachedTeacher, ReadsStudent, FollowsStudent)):
        return True
    members = getattr(teacher, "members", ())
    return bool(members) and all(map(is_at_hand, members))


def is_outside(teacher: Teacher) -> bool:
    """Whether somebody outside this process is asked, who may want to be paid."""
    members = getattr(teacher, "members", ())
    return isinstance(teacher, (ServedTeacher, BlackBoxTeacher)) or any(map(is_outside, members))


def ask_student(
    student: nn.Module,
    adapter: Adapter,
    batch: Any,
    *,
    temperature: float,
    wanted: Sequence[str] = (),
    graph: bool = False,
    training: bool = False,
) -> Signals:
    """The student's signals on one batch, in eval mode.

    Args:
        student: called once, where it is.
        adapter: the student's.
        batch: on any device.
        temperature: handed to the adapter.
        wanted: signals and module paths that the objective reads.
        graph: keep the graph.
        training: ask in train mode; buffers, such as batch statistics, are as before afterwards.
    """
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    reader = Reader(student, adapter, temperature=temperature, wanted=tuple(wanted))
    reader.attach()
    try:
        mode = _in_train_mode(student) if training else nullcontext()
        with undisturbed(student), mode, torch.enable_grad() if graph else nullcontext():
            return reader.read(to_device(content, device_of(student)))
    finally:
        reader.detach()


@contextmanager
def _in_train_mode(student: nn.Module) -> Iterator[None]:
    kept = {name: buffer.clone() for name, buffer in student.named_buffers()}
    student.train()
    try:
        yield
    finally:
        for name, buffer in student.named_buffers():
            buffer.copy_(kept[name])


@contextmanager
def prepared(teacher: Teacher, device: torch.device) -> Iterator[Teacher]:
    """A teacher ready to answer, and given back as it was: modes, hooks, places of its models.

    A `LiveTeacher` is asked through one of its own kind, so that what training has set on it stays.
    """
    models = models_of(teacher)
    places = [device_of(model) for model in models]
    asked = teacher
    if isinstance(teacher, LiveTeacher):
        asked = LiveTeacher(teacher.model, adapter=teacher.adapter, temperature=teacher.temperature)
    asked.prepare(device)
    try:
        yield asked
    finally:
        asked.release()
        for model, place in zip(models, places, strict=True):
            if device_of(model) != place:
                model.to(place)


def ask_teacher(teacher: Teacher, batch: Any, wanted: Sequence[str]) -> Signals:
    """A prepared teacher's signals on one batch: the wanted ones, and its logits where it has any.

    Args:
        teacher: from `prepared`.
        batch: on the teacher's device; of a `CachedTeacher` a `TaughtBatch`.
        wanted: signals and module paths that the objective reads.
    """
    names = tuple(wanted)
    if isinstance(teacher, CachedTeacher):
        held = [name for name in ("logits",) if name in teacher.cache.signals]
        return teacher.signals(batch, tuple(dict.fromkeys((*names, *held))))
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    try:
        return teacher.signals(content, tuple(dict.fromkeys((*names, "logits"))))
    except (CaptureError, ConfigError):  # it has no logits, as embedding models; what is wanted decides
        if not names or "logits" in names:
            raise
        return teacher.signals(content, names)


def logits_or_none(signals: Signals | None) -> Tensor | None:
    """The logits as one tensor, or None where there are none or only the likeliest."""
    return signals.logits if signals is not None and isinstance(signals.logits, Tensor) else None
