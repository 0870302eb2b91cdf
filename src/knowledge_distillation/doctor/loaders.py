"""Take a few batches from a loader so that it, its dataset and every random generator stay as they were."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.teachers.cache.replay import generators_kept

DEPTH = 6
MOST_OBJECTS = 2000


class CannotTell(Exception):
    """A check cannot look; the text says why."""


@contextmanager
def undrawn(*holders: Any) -> Iterator[None]:
    """Give every random generator back as it was: the global ones, and those that are held inside the objects.

    Args:
        holders: loaders; looked through to a depth of a few attributes (dataset, transforms, sampler).
    """
    own = list(_generators(holders))
    states = [_state(generator) for generator in own]
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    with generators_kept():
        try:
            yield
        finally:
            for generator, state in zip(own, states, strict=True):
                _restore(generator, state)
            if cards:
                torch.cuda.set_rng_state_all(cards)


def peek(loader: Any, count: int) -> list[Any]:
    """The first batches of a loader, read beside it.

    A DataLoader is read through a copy without persistent workers, in this process where its dataset allows that; a
    stream through a copy of the dataset. Call it within `undrawn(loader)`.

    Args:
        loader: any iterable of batches.
        count: how many at most.

    Raises:
        CannotTell: if the loader can be walked only once, so that a look would take batches from training.
    """
    if isinstance(loader, Iterator):
        raise CannotTell("it can be walked only once, and a look would take its batches from training")
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return list(itertools.islice(loader, count))
    if loader.num_workers == 0:
        return list(itertools.islice(_beside(loader, here=True), count))
    try:
        return list(itertools.islice(_beside(loader, here=True), count))
    except Exception:  # a dataset that opens its files in worker_init_fn can be read in workers only
        return list(itertools.islice(_beside(loader, here=False), count))


def first_items(batch: Any, count: int) -> Any:
    """The batch cut to its first items, where all its tensors agree on how many there are; else the whole batch."""
    if isinstance(batch, TaughtBatch):
        return batch
    size = batch_size(batch)
    if size is None or size <= count:
        return batch
    return map_leaves(batch, lambda leaf: _cut(leaf, size, count))


def batch_size(batch: Any) -> int | None:
    """Items of a batch, if every tensor in it says the same; None otherwise."""
    content = batch.content if isinstance(batch, TaughtBatch) else batch
    sizes = {len(leaf) if leaf.dim() else 0 for leaf in tensors_in(content)}
    return sizes.pop() if len(sizes) == 1 else None


def tensors_in(content: Any) -> list[Tensor]:
    """All tensors of a batch."""
    found: list[Tensor] = []

    def note(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        return leaf

    map_leaves(content, note)
    return found


def _cut(leaf: Any, size: int, count: int) -> Any:
    sized = isinstance(leaf, Tensor) or (isinstance(leaf, (list, tuple)) and len(leaf) == size)
    return leaf[:count] if sized else leaf


def _beside(loader: DataLoader[Any], *, here: bool) -> DataLoader[Any]:
    beside = copy.copy(loader)
    changes: dict[str, Any] = {"_iterator": None, "persistent_workers": False, "pin_memory": False}
    if here:
        changes |= {"num_workers": 0, "prefetch_factor": None, "timeout": 0}
    if isinstance(loader.dataset, IterableDataset):
        changes["dataset"] = copy.copy(loader.dataset)
    vars(beside).update(changes)  # DataLoader refuses some of these by its own way of setting attributes
    return beside


def _generators(roots: tuple[Any, ...]) -> Iterator[Any]:
    seen: set[int] = set()
    waiting = [(root, 0) for root in roots]
    while waiting and len(seen) < MOST_OBJECTS:
        thing, depth = waiting.pop(0)
        if id(thing) in seen or depth > DEPTH:
            continue
        seen.add(id(thing))
        if isinstance(thing, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
            yield thing
        elif isinstance(thing, Mapping):
            waiting += [(value, depth + 1) for value in itertools.islice(thing.values(), 50)]
        elif isinstance(thing, (list, tuple)):
            waiting += [(value, depth + 1) for value in thing[:50]]
        elif hasattr(thing, "__dict__") and not isinstance(thing, (Tensor, type, torch.nn.Parameter)):
            waiting += [(value, depth + 1) for value in list(vars(thing).values())]


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _restore(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)
