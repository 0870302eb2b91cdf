"""Where a model lost: how well each slice of the data is answered, before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError

Slicer = Callable[[Any], Any]
"""batch -> a bool for every sample (is it in the slice?), or a name for every sample (in which group is it?)."""


class Slices:
    """Sums of each model's item values over every slice.

    Args:
        slicers: name -> `Slicer`. Groups come out as "name=group".
    """

    def __init__(self, slicers: Mapping[str, Slicer]) -> None:
        for name, slicer in slicers.items():
            if not callable(slicer):
                raise ConfigError(
                    f"The slice {name!r} must be a callable that takes a batch and gives a bool or a group name for "
                    f"every sample; got {type(slicer).__name__}."
                )
        self._slicers = dict(slicers)
        self._items: dict[str, int] = {}
        self._sums: dict[str, dict[str, float]] = {}

    def members(self, batch: Any, samples: int) -> dict[str, Tensor]:
        """Which samples of a batch are in which slice: slice -> bools, shape [samples].

        Args:
            batch: as the loader gives it.
            samples: how many it holds.

        Raises:
            ConfigError: if a slicer's answer has not one entry for every sample.
        """
        found: dict[str, Tensor] = {}
        for name, slicer in self._slicers.items():
            said = slicer(batch)
            if len(said) != samples:
                raise ConfigError(
                    f"The slice {name!r} must give one entry for each of the {samples} samples of a batch, and gave "
                    f"{len(said)}: samples would be counted in the wrong slice."
                )
            entries = said.tolist() if isinstance(said, Tensor) else list(said)
            if all(isinstance(entry, bool) for entry in entries):
                found[name] = torch.tensor(entries, dtype=torch.bool)
                continue
            for group in dict.fromkeys(entries):
                found[f"{name}={group}"] = torch.tensor([entry == group for entry in entries], dtype=torch.bool)
        return found

    def add(self, members: Mapping[str, Tensor], sample: Tensor, values: Mapping[str, Tensor]) -> None:
        """Count items in.

        Args:
            members: of this batch.
            sample: which sample of the batch each item belongs to, shape [items].
            values: model -> how well it answered each item, shape [items].
        """
        for name, inside in members.items():
            chosen = inside.to(sample.device)[sample]
            self._items[name] = self._items.get(name, 0) + int(chosen.sum())
            sums = self._sums.setdefault(name, {})
            for model, value in values.items():
                sums[model] = sums.get(model, 0.0) + float(value[chosen].sum())

    def rows(self, against: str, student: str) -> list[dict[str, Any]]:
        """{"slice", "items", "teacher", "student", "change"} of every slice, in the order in which they were met."""
        rows = []
        for name, sums in self._sums.items():
            items = self._items[name]
            before, after = (sums[model] / items if items and model in sums else None for model in (against, student))
            change = None if before is None or after is None else after - before
            rows.append({"slice": name, "items": items, "teacher": before, "student": after, "change": change})
        return rows


def class_rows(
    before: Sequence[tuple[int, float]] | None,
    after: Sequence[tuple[int, float]] | None,
    name_of: Callable[[int], str | None],
) -> list[dict[str, Any]]:
    """{"class", "name", "items", "teacher", "student", "change"} of every class that has items."""
    rows = []
    for number, ((items, earlier), (_, later)) in enumerate(zip(before or (), after or (), strict=False)):
        if items:
            rows.append(
                {
                    "class": number,
                    "name": name_of(number),
                    "items": items,
                    "teacher": earlier,
                    "student": later,
                    "change": later - earlier,
                }
            )
    return rows
