"""Inputs that are rendered otherwise than the teacher expects: scale, normalisation, channel order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.doctor.answers import Answers, classified, joined
from knowledge_distillation.doctor.checks.teacher_skill import labelled_place
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, batch_size, first_items, tensors_in
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.teachers import LiveTeacher

ITEMS, FEWEST = 512, 48
LEAST_GAIN, LARGE_GAIN, ERRORS = 0.05, 0.2, 4.0
STATISTICS = {"ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "0.5 and 0.5": ((0.5,) * 3, (0.5,) * 3)}


def teacher_inputs(patient: Patient) -> Iterator[Finding]:
    """Normalisation, scale or channel order differ from what the teacher expects: it does far better on alternatives.

    The teacher answers the same labelled items as they are, and divided and multiplied by 255, with the mean and
    deviation of ImageNet put on and taken off, shifted to -1..1, standardised, stretched to 0..1, with blue first, and
    inverted; and once with the statistics of its batch normalisation taken from these items, which helps a network
    whose inputs have shifted and no other.
    """
    patient.teacher_stands_alone()
    where = labelled_place(patient)
    batches = _few(getattr(patient, where))
    images = _inputs(patient, batches[0])
    plain = _scored(patient, batches, lambda x: x)
    if len(plain) < FEWEST:
        raise CannotTell(f"only {len(plain)} labelled items were looked at")
    scored = {name: _scored(patient, batches, change) for name, change in renderings(images).items()}
    if isinstance(patient.teacher, LiveTeacher) and (batch_size(batches[0]) or 0) >= 32:
        adapted = _with_batch_statistics(patient.teacher.model)
        if adapted is not None:
            scored["with its BatchNorm statistics taken from this data"] = _answered_by(patient, adapted, batches)
    name, best = max(scored.items(), key=lambda entry: entry[1].accuracy)
    gained, lost = int((best.right & ~plain.right).sum()), int((plain.right & ~best.right).sum())
    gain = (gained - lost) / len(plain)
    if gain >= LEAST_GAIN and gained - lost > ERRORS * (gained + lost) ** 0.5:
        yield Finding(
            "error" if gain >= LARGE_GAIN else "warning",
            f"The teacher expects other inputs: it does better on them {name}.",
            f"Accuracy {plain.accuracy:.3f} as the loader gives them, {best.accuracy:.3f} {name}, on {len(plain)} "
            f"items (range {float(images.min()):.3g} to {float(images.max()):.3g}).",
            "The teacher is asked about inputs that it has never seen the like of, and its answers are taught.",
            "Preprocess as in the teacher's own training, or put the conversion into a module in front of the teacher.",
        )


def renderings(inputs: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Alternatives to inputs as they are, by what they are; each a function on the whole batch.

    Args:
        inputs: floating, [items, channels, height, width] with 1 or 3 channels, or [items, features].
    """
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "divided by 255": lambda x: x / 255,
        "multiplied by 255": lambda x: x * 255,
        "inverted": lambda x: x.amax() + x.amin() - x,
        "stretched to 0..1": _stretched,
        "shifted to -1..1": lambda x: 2 * _stretched(x) - 1,
        "standardised": _standardised,
    }
    if inputs.dim() != 4:
        return {name: found[name] for name in ("divided by 255", "multiplied by 255", "standardised")}
    channels = inputs.shape[1]
    for name, (means, deviations) in STATISTICS.items():
        mean = inputs.new_tensor(means[:channels]).view(-1, 1, 1)
        deviation = inputs.new_tensor(deviations[:channels]).view(-1, 1, 1)
        found[f"normalised by {name}"] = partial(_normalised, mean=mean, deviation=deviation)
        found[f"with the normalisation by {name} undone"] = partial(_undone, mean=mean, deviation=deviation)
    if channels == 3:
        found["with the channels in reverse order (BGR)"] = lambda x: x.flip(1)
    return found


def _normalised(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return (x - mean) / deviation


def _undone(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return x * deviation + mean


def _stretched(x: Tensor) -> Tensor:
    return (x - x.amin()) / (x.amax() - x.amin()).clamp(min=1e-12)


def _standardised(x: Tensor) -> Tensor:
    axes = (0, 2, 3) if x.dim() == 4 else (0,)
    return (x - x.mean(dim=axes, keepdim=True)) / x.std(dim=axes, keepdim=True).clamp(min=1e-6)


def _few(batches: list[Any]) -> list[Any]:
    kept, left = [], ITEMS
    for batch in batches:
        kept.append(first_items(batch, left))
        left -= batch_size(batch) or left
        if left <= 0:
            break
    return kept


def _inputs(patient: Patient, batch: Any) -> Tensor:
    """The one floating input of a batch that a rendering can change."""
    if patient.teacher is None or not patient.teacher_models:
        raise CannotTell("the teacher answers to what it was asked, not to other renderings")
    labels = patient.labels_of(batch)
    found = [leaf for leaf in tensors_in(batch)
             if leaf is not labels and leaf.is_floating_point() and leaf.dim() in (2, 4)]  # fmt: skip
    if len(found) != 1 or (found[0].dim() == 4 and found[0].shape[1] not in (1, 3)):
        raise CannotTell("the batches hold no single image or row of numbers that could be rendered otherwise")
    return found[0]


def _changed(patient: Patient, batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    target = _inputs(patient, batch)
    return map_leaves(batch, lambda leaf: change(leaf) if leaf is target else leaf)


def _scored(patient: Patient, batches: list[Any], change: Callable[[Tensor], Tensor]) -> Answers:
    parts = []
    for batch in batches:
        signals = patient.ask(_changed(patient, batch, change))
        parts.append(classified(signals, patient.labels_of(batch)))
    return joined(parts)


def _with_batch_statistics(model: nn.Module) -> nn.Module | None:
    """A copy that normalises by the batch, or None if it has no batch normalisation or cannot be copied."""
    if not any(isinstance(module, _BatchNorm) and module.running_mean is not None for module in model.modules()):
        return None
    try:
        adapted = copy.deepcopy(model)
    except RuntimeError:  # tensors with a graph cannot be copied
        return None
    for module in adapted.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return adapted.eval()


def _answered_by(patient: Patient, model: nn.Module, batches: list[Any]) -> Answers:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    parts = []
    for batch in batches:
        with torch.no_grad():
            signals = patient.teacher_adapter(
                model, map_leaves(batch, partial(_onto, device)), patient.plan.temperature
            )
        parts.append(classified(signals, patient.labels_of(batch)))
    return joined(parts)


def _onto(device: torch.device, leaf: Any) -> Any:
    return leaf.to(device) if isinstance(leaf, Tensor) else leaf
