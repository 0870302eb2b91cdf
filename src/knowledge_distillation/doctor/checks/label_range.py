"""Labels that name no class of the student."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor

from knowledge_distillation.doctor.answers import IGNORED, class_axis_last
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.losses import CrossEntropy


def label_range(patient: Patient) -> Iterator[Finding]:
    """Labels lie outside the student's classes, or are no whole numbers where a class is asked for."""
    labels, logits = patient.labels, logits_or_none(patient.said)
    if logits is None:
        raise CannotTell("the student gives no logits")
    classes = class_axis_last(logits, labels).shape[-1]
    naming = [bound for bound in patient.objective.bound if isinstance(bound.loss, CrossEntropy)]
    if labels.is_floating_point():
        if naming and labels.shape == logits.shape[:-1] and bool((labels != labels.round()).any()):
            yield Finding(
                "error",
                "The labels are fractions, and cross-entropy takes them for class ids.",
                f"From {float(labels.min()):.4g} to {float(labels.max()):.4g}, dtype {labels.dtype}.",
                "They are cut to whole numbers silently.",
                "Use a loss for values, such as objective='bounded_regression', or give class ids.",
            )
        return
    if labels.dtype == torch.bool or labels.shape != class_axis_last(logits, labels).shape[:-1]:
        raise CannotTell("the labels are no class ids of the items")
    ignored = {IGNORED, *(bound.loss.ignore_index for bound in naming)}
    found = torch.cat([part.flatten() for part in _all(patient)])
    counted = found[~torch.isin(found, torch.tensor(sorted(ignored), device=found.device))]
    outside = counted[(counted < 0) | (counted >= classes)]
    if len(outside):
        least, largest = int(counted.min()), int(counted.max())
        by_one = least == 1 and largest == classes
        yield Finding(
            "error",
            f"Labels lie outside the student's {classes} classes, 0 to {classes - 1}.",
            f"{len(outside)} of {len(counted)} labels, from {least} to {largest}.",
            "Cross-entropy stops with an error, on a GPU with one that names no line; or the items count as wrong.",
            "They count from 1: subtract 1." if by_one else "Map them to 0..classes-1; -100 marks items to leave out.",
        )


def _all(patient: Patient) -> list[Tensor]:
    batches = list(patient.batches)
    with suppress(CannotTell):
        batches += patient.validation
    return [labels.cpu() for batch in batches if (labels := patient.labels_of(batch)) is not None]
