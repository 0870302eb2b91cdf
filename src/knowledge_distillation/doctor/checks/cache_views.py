"""A cache whose teacher saw other views than the student will."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from torch.utils.data import DataLoader

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.errors import DistillationError
from knowledge_distillation.teachers import CachedTeacher
from knowledge_distillation.teachers.cache.sampling import make_views
from knowledge_distillation.teachers.cache.taught import ReplayedViews

LOOKED_AT = 16


def cache_views(patient: Patient) -> Iterator[Finding]:
    """Augmentation, or the data, differ between what the cached teacher saw and what the student gets."""
    teacher = patient.teacher
    if not isinstance(teacher, CachedTeacher):
        raise CannotTell("the teacher is not cached")
    with suppress(CannotTell):
        _ = patient.batches
    refused = patient.crashes.get("train loader")
    if refused is not None:
        yield Finding(
            "error",
            "The train loader does not give what the cached teacher saw.",
            f"{type(refused).__name__}: {refused}",
            "The student would learn answers to other inputs; training stops.",
            "Write the cache anew from this loader." if isinstance(refused, DistillationError) else "See the message.",
        )
        return
    loader = patient.train_loader
    if not isinstance(loader, DataLoader):
        return
    cache = teacher.cache
    count = cache.samples * cache.views
    keys = sorted({place * (count - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)})
    dataset = loader.dataset.dataset if isinstance(loader.dataset, ReplayedViews) else loader.dataset
    made = make_views(dataset, keys, cache.column("seed", keys).tolist(), cache.views)
    other = [view.key for view, checksum in zip(made, cache.column("checksum", keys).tolist(), strict=True)
             if view.checksum != checksum]  # fmt: skip
    if other:
        yield Finding(
            "error" if len(other) > len(keys) // 2 else "warning",
            "The student sees other views than the cached teacher saw.",
            f"{len(other)} of {len(keys)} samples differ from what the cache {cache.directory} was written from.",
            "It learns the teacher's answers to other inputs.",
            "Write the cache anew from this loader; let transforms draw from the global generators only.",
        )
        return
    again = make_views(dataset, keys, [int(view.seed) + 1 for view in made], cache.views)
    if cache.views == 1 and any(one.checksum != two.checksum for one, two in zip(made, again, strict=True)):
        yield Finding(
            "note",
            "The data are augmented, and the cache holds one view of each sample.",
            f"{len(keys)} samples were made again from another seed and differ; the cache has 1 view.",
            "The student sees the same view in every epoch.",
            "Write the cache with views=4 or more.",
        )
