"""A clock inside the data: whoever trains, the time between two batches is the time of a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any


class Clock:
    """An epoch of batches that looks at the time when they are asked for: no trainer's start and end is counted.

    Args:
        batches: one for each step; the last step is not timed, since nobody asks for a batch after it.
        skip: first steps that are not timed either; whoever looks at the first batch or warms up does it there.
        now: gives the time in seconds; on a device that works on behind the caller's back it must wait for it.
    """

    def __init__(
        self, batches: Collection[Any], *, skip: int = 1, now: Callable[[], float] = time.perf_counter
    ) -> None:
        if len(batches) < skip + 2:
            raise ValueError(f"{len(batches)} batches leave no step to time: {skip} are skipped, and the last.")
        self.batches = batches
        self.skip = skip
        self.now = now
        self._began = self._ended = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.batches):
            if number == self.skip:
                self._began = self.now()
            elif number == len(self.batches) - 1:
                self._ended = self.now()
            yield batch

    @property
    def seconds_a_step(self) -> float:
        """Of the steps that were timed, after a walk through all batches."""
        return (self._ended - self._began) / (len(self.batches) - 1 - self.skip)
