"""Training data in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, SequentialSampler

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.training.loaders import loader_length

HARM = "Neighbouring batches look alike: the student forgets one class while it learns the next."


def shuffling(patient: Patient) -> Iterator[Finding]:
    """The training data comes in the same order in every epoch, or sorted by its labels."""
    loader = patient.train_loader
    batches = loader_length(loader)
    fixed = isinstance(loader, DataLoader) and isinstance(loader.sampler, SequentialSampler)
    sorted_by_label = _is_sorted(patient)
    if fixed and isinstance(loader, DataLoader) and _is_whole(loader) and (batches or 0) > 1:
        yield Finding(
            "warning",
            "The train loader does not shuffle" + (", and its labels are sorted." if sorted_by_label else "."),
            f"SequentialSampler over {len(loader.sampler)} samples in {batches} batches.",  # type: ignore[arg-type]
            HARM if sorted_by_label else "Every epoch shows the same batches in the same order.",
            "DataLoader(..., shuffle=True).",
        )
    elif sorted_by_label:
        yield Finding(
            "warning",
            "The training data comes sorted by its labels.",
            f"{sorted_by_label}.",
            HARM,
            "Shuffle the data before they are cut into batches.",
        )


def _is_whole(loader: DataLoader[object]) -> bool:
    """Whether it is the sampler that decides the order, and not a batch sampler of the user's own."""
    return type(loader.batch_sampler) is torch.utils.data.BatchSampler


def _is_sorted(patient: Patient) -> str:
    """How far the labels are sorted, in words; empty if they are not, or cannot be seen."""
    try:
        labels = [found for batch in patient.batches if (found := patient.labels_of(batch)) is not None]
    except CannotTell:
        return ""
    if not labels or any(found.dim() != 1 or found.is_floating_point() for found in labels):
        return ""
    joined = torch.cat([found.cpu() for found in labels])
    kinds = len(torch.unique(joined))
    changes = int((joined[1:] != joined[:-1]).sum())
    chance = 1 - float((torch.bincount(joined.clamp(min=0)).float() / len(joined)).square().sum())
    expected = chance * (len(joined) - 1)
    if kinds > 1 and len(joined) >= 16 and expected >= 4 and changes < expected / 4:
        return f"The label changes {changes} times in {len(joined)} items; shuffled it would about {expected:.0f} times"
    return ""
