"""Numbers that float16 cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.capture.paths import modules_by_path
from knowledge_distillation.doctor.asking import ask_student, logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, first_items
from knowledge_distillation.doctor.patient import FEW_ITEMS, Patient
from knowledge_distillation.doctor.terms import tensors

LARGEST = torch.finfo(torch.float16).max
NEAR = 0.25
"""Share of the largest number from which on training is likely to pass it."""


def half_precision(patient: Patient) -> Iterator[Finding]:
    """Training in float16 is ahead, and numbers come near the largest that it can hold (65504)."""
    precision = str(patient.plan.trainer.get("precision", ""))
    if not precision.startswith("16"):
        return
    found: dict[str, float] = {}
    few = first_items(patient.batches[0], FEW_ITEMS)
    content = getattr(few, "content", few)
    for whose, model, adapter in (
        ("student", patient.student, patient.student_adapter),
        *(("teacher", model, patient.teacher_adapter) for model in patient.teacher_models),
    ):
        path, size = _largest(model, lambda m=model, a=adapter: ask_student(
            m, a, content, temperature=patient.plan.temperature))  # fmt: skip
        found[f"the {whose}'s {path or 'output'}"] = size
    taught = None
    with suppress(CannotTell):
        taught = logits_or_none(patient.taught)
    if taught is not None:
        found["the teacher's logits"] = float(taught.abs().max())
    if precision == "16-true":
        found |= {f"term {look.name!r}": look.weight * abs(look.value) for look in patient.terms if look.value}
    place = max(found, key=lambda name: found[name])
    if found[place] > NEAR * LARGEST:
        over = found[place] > LARGEST
        yield Finding(
            "error" if over else "warning",
            f"float16 {'overflows' if over else 'is about to overflow'} at {place}.",
            f"{found[place]:.4g} with precision={precision!r}; the largest number is {LARGEST:g}.",
            "It becomes infinity, then NaN; the loss scaler skips step after step.",
            "Use precision='bf16-mixed', normalise the inputs, or keep this module in float32.",
        )


def _largest(model: nn.Module, call: Any) -> tuple[str, float]:
    """The module whose output is largest in size, and that size; every hook is taken off again."""
    sizes: dict[str, float] = {}
    handles = []

    def watch(path: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            for tensor in tensors(list(output.values()) if isinstance(output, dict) else output):
                if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                    sizes[path] = max(sizes.get(path, 0.0), float(tensor.detach().abs().max()))

        return hook

    for path, module in modules_by_path(model).items():
        handles.append(module.register_forward_hook(watch(path)))
    try:
        with undisturbed(model):
            call()
    finally:
        for handle in handles:
            handle.remove()
    worst = max(sizes, key=lambda path: sizes[path], default="")
    return worst, sizes.get(worst, 0.0)
