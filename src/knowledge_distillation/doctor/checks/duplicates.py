"""Samples that are in the training and in the validation data."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, batch_size
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.tokens import mask_of
from knowledge_distillation.teachers.cache import TaughtBatch

FEWEST, LEAST_SHARE = 3, 0.02
HARM = "The validation score shows what was learnt by heart, and the best checkpoint is chosen by it."
FIX = "Split the data again, so that no sample is in both."


def duplicates(patient: Patient) -> Iterator[Finding]:
    """Samples of a validation loader are in the training data.

    Datasets that are the same object, or subsets of one, are compared by index; the samples of the first batches by
    checksum.
    """
    train = _indices(getattr(patient.train_loader, "dataset", None))
    for name, loader in patient.val_loaders.items():
        other = _indices(getattr(loader, "dataset", None))
        if train is not None and other is not None and train[0] is other[0]:
            shared = len(train[1] & other[1])
            if shared:
                yield Finding(
                    "error" if shared > 0.5 * len(other[1]) else "warning",
                    f"Validation samples of {name!r} are training samples.",
                    f"{shared} of {len(other[1])} have the same index in the same dataset.",
                    HARM,
                    FIX,
                )
                return
    seen: dict[int, int] = {}
    for checksum in _checksums(patient.batches):
        seen[checksum] = seen.get(checksum, 0) + 1
    found = list(_checksums(patient.validation))
    if not seen or not found:
        raise CannotTell("the samples of a batch cannot be told apart")
    shared = sum(checksum in seen for checksum in found)
    repeated = 1 - len(seen) / sum(seen.values())
    share = shared / len(found)
    if shared >= FEWEST and share >= max(LEAST_SHARE, 3 * repeated):
        yield Finding(
            "error" if share > 0.5 else "warning",
            "Validation samples are also in the training data.",
            f"{shared} of {len(found)} validation samples equal one of {sum(seen.values())} training samples; among "
            f"these {100 * repeated:.1f}% repeat each other.",
            HARM,
            FIX,
        )


def _indices(dataset: Any) -> tuple[Any, set[int]] | None:
    """The dataset at the bottom of subsets, and which of its samples are used; None for streams."""
    chosen: list[int] | None = None
    while isinstance(dataset, Subset):
        own = [int(index) for index in dataset.indices]
        chosen = own if chosen is None else [own[place] for place in chosen]
        dataset = dataset.dataset
    if dataset is None or not hasattr(dataset, "__len__"):
        return None
    return dataset, set(range(len(dataset))) if chosen is None else set(chosen)


def _checksums(batches: list[Any]) -> Iterator[int]:
    """Of the inputs of every sample, padding left out."""
    for batch in batches:
        content = batch.content if isinstance(batch, TaughtBatch) else batch
        size = batch_size(batch)
        if size is None:
            continue
        positional, named, _ = split_batch(content)
        inputs = [leaf for leaf in (*positional, *_inputs(named)) if isinstance(leaf, Tensor)]
        mask = mask_of(content)
        for place in range(size):
            value = 0
            for leaf in inputs:
                row = leaf[place]
                if mask is not None and row.shape[:1] == mask.shape[1:]:
                    row = row[mask[place]]
                value = zlib.crc32(row.detach().cpu().contiguous().numpy().tobytes(), value)
            yield value


def _inputs(named: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in named.items() if "mask" not in str(key) and key != "index"]
