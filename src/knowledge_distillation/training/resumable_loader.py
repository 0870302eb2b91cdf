"""A user's loader whose position within an epoch can be written down and found again, with any number of workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)

from knowledge_distillation.teachers.cache.replay import generators_aside, seed_generators, view_seed
from knowledge_distillation.teachers.cache.sampling import loader_like
from knowledge_distillation.training.loaders import loader_length

logger = logging.getLogger(__name__)
AT_ONCE = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)
"""Samplers that draw all that they need before they give their first index."""


class ResumableLoader:
    """The batches of a DataLoader, each made from its own seed, so that any of them can be the first.

    What a batch holds depends on the seed of its epoch and on its number alone: the order comes from that seed, and
    the transforms and the collate function of a batch draw from a seed of their own. Workers change nothing.

    Args:
        loader: over a dataset with numbers; give it as the user built it.
        ranks: (rank, how many) where several processes share the samples, with a sampler that does not share yet.
    """

    def __init__(self, loader: DataLoader[Any], ranks: tuple[int, int] | None = None) -> None:
        self.user_loader = loader
        self.dataset, self.batch_size = loader.dataset, loader.batch_size
        self.sampler: Any = loader.sampler
        batches: Any = loader.batch_sampler
        if ranks is not None:
            self.sampler = DistributedSampler(
                loader.dataset, ranks[1], ranks[0], shuffle=not isinstance(loader.sampler, SequentialSampler), seed=0
            )
            if loader.batch_size is not None:
                batches = BatchSampler(self.sampler, loader.batch_size, loader.drop_last)
        self.batch_sampler = batches
        self._order: Any = self.sampler if batches is None else batches
        self._generators = _generators(loader, self._order, self.sampler)
        self._numbers = _SeededNumbers(self._order, self.sampler, self._generators)
        self._next_start: tuple[int, int, int] | None = None
        self._loader = loader_like(
            loader,
            _SeededBatches(loader.dataset, loader.collate_fn, whole=batches is None),
            _as_it_is,
            worker_init_fn=loader.worker_init_fn and _UsersInit(loader.worker_init_fn),
            generator=torch.Generator(),  # for the workers' own seeds, which nothing depends on
            batch_size=None,
            sampler=self._numbers,
        )

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Any]:
        self._numbers.start = self._next_start or (_new_seed(self._generators), 0, 1)
        self._next_start = None
        return iter(self._loader)

    @property
    def epoch_seed(self) -> int:
        """The seed of the epoch that was begun last."""
        return self._numbers.start[0]

    def begin_from(self, seed: int, batches: int, every: int = 1) -> None:
        """Let the next epoch be the one of this seed, without its first batches; and of the others every n-th only."""
        self._next_start = (seed, batches, every)

    def generator_states(self) -> list[Tensor]:
        """Where the generators stand that the user gave the loader; they decide the seeds of the epochs to come."""
        return [generator.get_state() for generator in self._generators]

    def restore_generators(self, states: Sequence[Tensor]) -> None:
        """Put the user's generators where `generator_states` saw them."""
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The numbers of one batch's samples, and the seed that its transforms draw from."""

    numbers: Any
    seed: int


class _SeededNumbers(Sampler[Any]):
    """The user's order of an epoch, drawn from the seed of `start`; which batches of it, `start` says as well."""

    def __init__(self, order: Any, sampler: Any, generators: Sequence[torch.Generator]) -> None:
        self.order, self.sampler, self.generators = order, sampler, generators
        self.start = (0, 0, 1)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[_Drawn]:
        return self._from(*self.start)  # a DataLoader with workers asks twice an epoch

    def _from(self, seed: int, first: int, every: int) -> Iterator[_Drawn]:
        kept = [generator.get_state() for generator in self.generators]
        with generators_aside():
            for generator in self.generators:
                generator.manual_seed(seed)
            seed_generators(seed)
            order = iter(self.order)
            if type(self.sampler) in AT_ONCE and not self.generators:
                numbers = next(order, None)
                given: Iterator[Any] = iter(()) if numbers is None else chain([numbers], order)
            else:
                given = iter(list(islice(order, len(self.order))))
        for generator, state in zip(self.generators, kept, strict=True):
            generator.set_state(state)
        for number, entry in islice(enumerate(given), first, None, every):
            yield _Drawn(entry, view_seed(seed, number))


class _SeededBatches(Dataset[Any]):
    """Whole batches of the user's dataset, made in the worker; the generators of that process stay as they were."""

    def __init__(self, dataset: Dataset[Any], collate: Callable[[Any], Any], whole: bool) -> None:
        self.dataset, self.collate, self.whole = dataset, collate, whole

    def __getitem__(self, drawn: _Drawn) -> Any:
        with generators_aside():
            seed_generators(drawn.seed)
            return self.collate(self._samples(drawn.numbers))

    def _samples(self, numbers: Any) -> Any:
        if self.whole:
            return self.dataset[numbers]
        many = getattr(self.dataset, "__getitems__", None)
        return many(numbers) if many else [self.dataset[number] for number in numbers]


class _UsersInit:
    """The user's worker_init_fn, which finds the user's dataset in the worker's info."""

    def __init__(self, begin: Callable[[int], None]) -> None:
        self.begin = begin

    def __call__(self, worker: int) -> None:
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)
        self.begin(worker)


class WalkedLoader:
    """A loader without numbers: an epoch is gone on with by walking over the batches that were already seen.

    Args:
        loader: any iterable that begins anew with every `iter`.
    """

    def __init__(self, loader: Any) -> None:
        self.user_loader = loader
        self.epoch_seed = 0
        self._next_start: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:
        seed, first = self._next_start or (_new_seed(()), 0)
        self._next_start, self.epoch_seed = None, seed
        return self._from(seed, first)

    def _from(self, seed: int, first: int) -> Iterator[Any]:
        with generators_aside():
            seed_generators(seed)
            batches = iter(self.user_loader)
            for _ in range(first):
                next(batches, None)
        yield from batches

    def begin_from(self, seed: int, batches: int) -> None:
        """Let the next epoch be the one of this seed, without its first batches."""
        self._next_start = (seed, batches)

    def generator_states(self) -> list[Tensor]:
        """Of generators nothing is known here."""
        return []

    def restore_generators(self, states: Sequence[Tensor]) -> None:
        """Nothing to put back."""


class _SizedWalkedLoader(WalkedLoader):
    def __len__(self) -> int:
        return len(self.user_loader)


def resumable(loader: Any, *, ranks: tuple[int, int] | None = None) -> ResumableLoader | WalkedLoader:
    """The loader with a position that can be found again.

    A torch DataLoader over a dataset with numbers becomes a `ResumableLoader`. Anything else is walked, and a log line
    says what that means.

    Args:
        loader: of a training.
        ranks: (rank, how many) where the samples are shared among processes.
    """
    if isinstance(loader, (ResumableLoader, WalkedLoader)):
        return loader
    why = _why_not(loader)
    if why is None:
        shared = ranks if ranks is not None and not isinstance(loader.sampler, DistributedSampler) else None
        return ResumableLoader(loader, shared)
    logger.info(
        "The train loader %s: a run broken off within an epoch goes on after walking over the batches already seen, "
        "and draws the same only if each pass over the loader gives the same batches.",
        why,
    )
    return WalkedLoader(loader) if loader_length(loader) is None else _SizedWalkedLoader(loader)


def shared(loader: Any, rank: int, processes: int, seed: int) -> ResumableLoader | None:
    """This process's share of a loader that all of them walk: each batch goes to one process, none to two.

    Args:
        loader: as the user built it; a sampler of it that shares samples already is passed over, since it repeats some.
        rank: from 0 to processes - 1.
        processes: how many.
        seed: of the order and the transforms; the same in all processes.

    Returns:
        The share, of one pass; None where batches cannot be told apart by their number.
    """
    if _why_not(loader) is not None:
        return None
    share = ResumableLoader(loader, (0, 1) if isinstance(loader.sampler, DistributedSampler) else None)
    share.begin_from(seed, rank, processes)
    return share


def fresh(loader: Any) -> Any:
    """The user's own loader behind a resumable one; any other as it is."""
    return loader.user_loader if isinstance(loader, (ResumableLoader, WalkedLoader)) else loader


def _why_not(loader: Any) -> str | None:
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return f"is a {type(loader).__name__} and no plain DataLoader"
    if isinstance(loader.dataset, IterableDataset):
        return "reads a stream, whose samples have no number"
    order = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    if not hasattr(order, "__len__"):
        return f"has a {type(order).__name__} without a length"
    return None


def _new_seed(generators: Sequence[torch.Generator]) -> int:
    source = generators[0] if generators else None
    return int(torch.empty((), dtype=torch.int64).random_(generator=source).item())


def _generators(*places: Any) -> list[torch.Generator]:
    found = [getattr(place, "generator", None) for place in places]
    return list({id(entry): entry for entry in found if isinstance(entry, torch.Generator)}.values())


def _as_it_is(batch: Sequence[Any]) -> Any:
    return batch
