"""A teacher that training the student would change."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.teachers import FollowsStudent


def shared_parameters(patient: Patient) -> Iterator[Finding]:
    """The teacher shares trainable parameters, or batch statistics, with the student or with the objective."""
    if not patient.teacher_models:
        raise CannotTell("the teacher has no modules here")
    if isinstance(patient.teacher, FollowsStudent):
        raise CannotTell("the teacher is made of the student")
    if any(model is patient.student for model in patient.teacher_models):
        yield Finding(
            "error",
            "Teacher and student are the same object.",
            "0 parameters are the teacher's own.",
            "The student would learn from itself, and training stops before its first step.",
            "Pass a copy: copy.deepcopy(student).",
        )
        return
    theirs = {_place(tensor) for model in patient.teacher_models for tensor in model.parameters()}
    held = [name for name, p in patient.student.named_parameters() if p.requires_grad and _place(p) in theirs]
    statistics = {_place(tensor) for model in patient.teacher_models for tensor in _statistics(model)}
    moving = [tensor for tensor in _statistics(patient.student) if _place(tensor) in statistics]
    if held or moving:
        yield Finding(
            "error",
            "The student shares " + ("trainable parameters" if held else "batch statistics") + " with the teacher.",
            f"{len(held)} parameters" + (f", such as {', '.join(held[:3])}" if held else "")
            + f"; {len(moving)} running statistics.",
            "Training changes the teacher as well, which then teaches what the student already says.",
            "Copy those layers (copy.deepcopy), or freeze the shared parameters.",
        )  # fmt: skip


def _place(tensor: Tensor) -> tuple[str, int, int]:
    """Where a tensor's numbers lie: views of one storage share it."""
    storage = tensor.untyped_storage()
    pointer = storage.data_ptr()
    return (str(tensor.device), pointer, 0) if pointer else (str(tensor.device), 0, id(tensor))


def _statistics(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield module.running_mean
