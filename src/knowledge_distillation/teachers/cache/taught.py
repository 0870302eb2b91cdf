"""A training batch that brings along what the cache holds of its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.pin_memory import pin_memory

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers.cache.checksums import batch_checksums
from knowledge_distillation.teachers.cache.reading import Cache
from knowledge_distillation.teachers.cache.sampling import Collated, View, make_views


class Answers:
    """Stored arrays of one batch. Moved with the batch, and never cast by a precision plugin.

    Attributes:
        arrays: signal -> array -> rows.
        places: flat places of the tokens that the rows belong to, int64; None where the signals are by sample.
        grid: (samples, padded length), where there are places.
    """

    def __init__(
        self, arrays: Mapping[str, Mapping[str, Tensor]], places: Tensor | None, grid: tuple[int, int] | None
    ) -> None:
        self.arrays, self.places, self.grid = arrays, places, grid

    def to(self, device: torch.device | str, **settings: Any) -> Answers:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, **settings))

    def pin_memory(self) -> Answers:
        """The same in pinned memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def part(self, start: int, stop: int) -> Answers:
        """Those to the samples from `start` up to `stop`."""
        if self.places is None or self.grid is None:
            return self._each(lambda tensor: tensor[start:stop])
        length = self.grid[1]
        inside = (self.places >= start * length) & (self.places < stop * length)
        arrays = self._each(lambda tensor: tensor[inside]).arrays
        return Answers(arrays, self.places[inside] - start * length, (stop - start, length))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Answers:
        arrays = {
            signal: {name: change(array) for name, array in parts.items()} for signal, parts in self.arrays.items()
        }
        return Answers(arrays, None if self.places is None else change(self.places), self.grid)


@dataclass(slots=True)
class TaughtBatch:
    """A batch as the models take it, and the cached answers to it."""

    content: Any
    answers: Answers

    def to(self, device: torch.device | str, **settings: Any) -> TaughtBatch:
        """The same on a device; called by Lightning."""
        return TaughtBatch(move_data_to_device(self.content, torch.device(device)), self.answers.to(device, **settings))

    def pin_memory(self) -> TaughtBatch:
        """The same in pinned memory; called by the DataLoader."""
        return TaughtBatch(pin_memory(self.content), self.answers.pin_memory())  # type: ignore[no-untyped-call]


class ReplayedViews(Dataset[View]):
    """The user's dataset, each sample as one of the views that the teacher saw, chosen anew each time.

    Args:
        dataset: as the cache was written from.
        cache: gives the seeds.
    """

    def __init__(self, dataset: Dataset[Any], cache: Cache) -> None:
        self.dataset, self.cache = dataset, cache

    def __len__(self) -> int:
        return self.cache.samples

    def __getitem__(self, index: int) -> View:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[View]:
        views = self.cache.views
        chosen = torch.randint(views, (len(indices),)).tolist() if views > 1 else [0] * len(indices)
        return self.at([index * views + view for index, view in zip(indices, chosen, strict=True)])

    def at(self, keys: Sequence[int]) -> list[View]:
        """The views of these keys, not compared with what the teacher saw: `WithAnswers` does so."""
        return make_views(self.dataset, keys, self.cache.column("seed", keys).tolist(), self.cache.views)


class WithAnswers:
    """Collates views into a `TaughtBatch`, in the loader's workers.

    Args:
        collate: the user's collate function.
        cache: gives the answers.
        check: compare every sample with the checksum of what the teacher saw.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], cache: Cache, check: bool) -> None:
        self.collated, self.cache, self.check = Collated(collate), cache, check

    def __call__(self, views: Sequence[View]) -> TaughtBatch:
        content = self._compared(views) if self.check else self.collated(views)
        return TaughtBatch(content, self._answers(views, content))

    def compare(self, views: Sequence[View]) -> None:
        """Raise CacheError, which names the sample, unless each view is what the teacher saw."""
        for view, checksum in zip(views, self._expected(views), strict=True):
            if view.checksum != checksum:
                raise CacheError(
                    f"Sample {view.key // self.cache.views}, view {view.key % self.cache.views}, is not what the "
                    f"teacher saw when the cache {self.cache.directory} was written: other data, another tokenizer, a "
                    "changed transform, or one that draws from a generator of its own. The student would learn answers "
                    "to other inputs. Write the cache anew from this loader."
                )

    def _compared(self, views: Sequence[View]) -> Any:
        """The batch, in which each view is what the teacher saw."""
        if not self.collated.stacks:
            self.compare(views)  # before a function that we do not know has changed them
            return self.collated(views)
        try:
            content = self.collated(views)
        except Exception:
            self.compare(views)  # other data may have other shapes, and the sample says more than the shapes do
            raise
        if batch_checksums(content, [view.content for view in views]) != self._expected(views):
            self.compare(views)
        return content

    def _expected(self, views: Sequence[View]) -> list[int]:
        checksums: list[int] = self.cache.column("checksum", [view.key for view in views]).tolist()
        return checksums

    def _answers(self, views: Sequence[View], content: Any) -> Answers:
        arrays, counts = self.cache.gather([view.key for view in views])
        if not counts:
            return Answers(arrays, None, None)
        tokens = next(iter(counts.values()))
        if any(self.cache.signals[name].get("in_front") for name in counts):
            # items that the adapter counts, as frames of speech: the longest sample decides how many a batch has
            longest = int(tokens.max())
            counted = (torch.arange(longest) < tokens.unsqueeze(1)).flatten().nonzero().squeeze(1)
            return Answers(arrays, counted, (len(tokens), longest))
        mask = content.get("attention_mask") if isinstance(content, Mapping) else None
        if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.bool().sum(dim=1).tolist() != tokens.tolist():
            raise CacheError(
                f"The cache {self.cache.directory} holds {tokens.tolist()[:8]}... tokens of these samples, and the "
                "batch's 'attention_mask' does not count as many: the answers would stand at the wrong tokens. Use "
                "the collate function that the cache was written with."
            )
        places = mask.bool().flatten().nonzero().squeeze(1)
        return Answers(arrays, places, (len(mask), mask.shape[1]))
