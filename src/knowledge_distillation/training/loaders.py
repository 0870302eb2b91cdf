"""Loaders as Lightning must see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.teachers import CachedTeacher, Teacher


class WholeLoader:
    """One named validation loader, handed to Lightning as a loader of one batch, itself: the pipeline walks it."""

    def __init__(self, name: str, loader: Any) -> None:
        self.name = name
        self.loader = loader

    def __iter__(self) -> Iterator[WholeLoader]:
        yield self

    def __len__(self) -> int:
        return 1


class Batches:
    """A list of batches as one loader; Lightning would take every entry of a list for a loader of its own."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def loader_name(metric: str | None, loaders: Mapping[str, Any]) -> str:
    """The name of the loader that is scored: the one asked for, or the first of at least one.

    Raises:
        ConfigError: if there is none of that name, with the nearest names.
    """
    if metric is not None and metric not in loaders:
        raise ConfigError(f"There is no validation loader named {metric!r}. {nearest(str(metric), loaders)}")
    return metric or next(iter(loaders))


def one_loader(loader: Iterable[Any] | None) -> Any:
    """The loader as it is, or a list of batches as one loader."""
    return Batches(loader) if isinstance(loader, (list, tuple)) else loader


def loader_for(teacher: Teacher | None, loader: Iterable[Any] | None) -> Any:
    """The loader as training walks it: that of a cached teacher brings its answers along."""
    if isinstance(teacher, CachedTeacher) and loader is not None:
        return teacher.loader(loader)
    return one_loader(loader)


def loader_length(loader: Any) -> int | None:
    """Batches an epoch, or None where the loader does not know."""
    try:
        return len(loader)
    except TypeError:
        return None
