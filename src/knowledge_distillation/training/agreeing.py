"""What any process of a training asks for, all of them do, after the same step."""

from __future__ import annotations

import time

import torch
from torch import distributed

SECONDS = 1.0
"""About how long it takes until the others hear of it."""


class Agreement:
    """Tells every process what the others ask for.

    About once a second they exchange a few numbers over the CPU, so that no step waits for a device. After how many
    steps that is, they agree on as well: each must come to the exchange. A process alone hears itself at once.
    """

    def __init__(self) -> None:
        self._group: distributed.ProcessGroup | None = None
        self._interval, self._steps, self._time = 1, 0, 0.0

    def begin(self, processes: int) -> None:
        """Before the first step; every process must call it."""
        together = processes > 1 and distributed.is_available() and distributed.is_initialized()
        self._group = distributed.new_group(backend="gloo") if together else None
        self._interval, self._steps, self._time = 1, 0, time.monotonic()

    def heard(self, *asked: int, now: bool = False) -> tuple[int, ...]:
        """What is asked for: number by number the largest of all processes; zeros if it is not time yet.

        Every process must call it after every step.

        Args:
            asked: by this process; numbers >= 0, as many in every call.
            now: exchange in any case; every process must say the same.
        """
        if self._group is None:
            return asked
        self._steps += 1
        if self._steps < self._interval and not now:
            return (0,) * len(asked)
        fits = int(self._steps * SECONDS / max(time.monotonic() - self._time, 1e-6))
        interval = max(1, min(fits, 2 * self._interval))  # the first steps may say little about those to come
        numbers = torch.tensor([*asked, -interval])
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX, group=self._group)
        *heard, fewest = numbers.tolist()
        self._interval, self._steps, self._time = -fewest, 0, time.monotonic()
        return tuple(heard)
