"""Samples by key: which view of which sample, made again from its seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from knowledge_distillation.errors import CacheError, ConfigError
from knowledge_distillation.teachers.cache.checksums import inputs_checksum
from knowledge_distillation.teachers.cache.replay import draws, generators_aside, seed_generators


@dataclass(slots=True)
class View:
    """One sample as its transforms gave it from one seed; its key is sample * views + view."""

    content: Any
    key: int
    seed: int

    @property
    def checksum(self) -> int:
        """Of what a model would read of it, counted anew each time it is asked for."""
        return inputs_checksum(self.content)


def make_views(dataset: Dataset[Any], keys: Sequence[int], seeds: Sequence[int], views: int) -> list[View]:
    """The samples of these keys, each made from its seed; the random generators are left as they were."""
    made = []
    with generators_aside():
        for key, seed in zip(keys, seeds, strict=True):
            seed_generators(seed)
            made.append(View(dataset[key // views], key, seed))
    return made


class Collated:
    """A loader's collate function on the contents of views, watched: it must not draw random numbers."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate
        self.stacks = collate is default_collate
        """Whether a tensor of the batch is a stack of the samples' tensors."""

    def __call__(self, views: Sequence[View]) -> Any:
        contents = [view.content for view in views]
        if self.stacks:
            return self.collate(contents)
        before = draws()
        batch = self.collate(contents)
        if draws() != before:
            raise CacheError(
                "The loader's collate_fn draws random numbers, as MixUp and CutMix do: the teacher's answers are kept "
                "by sample, and a mixture is none. Do the drawing in the dataset, or distil with the live teacher."
            )
        return batch


def check_loader(loader: Any) -> DataLoader[Any]:
    """The loader, if its samples can be asked for by number.

    Raises:
        ConfigError: if it is no plain DataLoader over a dataset with length.
    """
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        raise ConfigError(
            f"A teacher cache is kept by sample and needs a torch DataLoader, got {type(loader).__name__}: the samples "
            "of other loaders have no number. Put the data into a Dataset with __len__ and __getitem__."
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise ConfigError(
            f"A teacher cache is kept by sample, and {type(loader.dataset).__name__} is a stream: its samples have no "
            "number. Use a dataset with __len__ and __getitem__."
        )
    if loader.batch_size is None and type(loader.batch_sampler) is type(None):
        raise ConfigError(
            "A teacher cache is kept by sample, and this loader's dataset gives whole batches (batch_size=None). Let "
            "the dataset give samples."
        )
    return loader


def loader_like(
    loader: DataLoader[Any], dataset: Dataset[Any], collate: Callable[[list[Any]], Any], **changes: Any
) -> DataLoader[Any]:
    """A loader with another dataset and collate function, and the workers of the one given.

    Args:
        loader: gives workers, pinning and generator, and the order unless a sampler or batch sampler is given.
        dataset: with the same numbering.
        collate: on what the dataset gives.
        changes: arguments of `DataLoader` instead of those of the loader.
    """
    order: dict[str, Any] = {}
    if "sampler" not in changes and "batch_sampler" not in changes:
        plain = type(loader.batch_sampler) is torch.utils.data.BatchSampler
        order = (
            {"sampler": loader.sampler, "batch_size": loader.batch_size, "drop_last": loader.drop_last}
            if plain
            else {"batch_sampler": loader.batch_sampler}
        )
    workers = (
        "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
        "prefetch_factor", "persistent_workers",
    )  # fmt: skip
    kept = {name: getattr(loader, name) for name in workers}
    return DataLoader(dataset, collate_fn=collate, **{**kept, **order, **changes})
