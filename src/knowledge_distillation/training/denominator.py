"""One denominator for a step: micro-batches and processes count by how many items they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor


class Denominator:
    """Turns the mean of means that accumulation and data parallelism take into the mean over all items of a step.

    Batches with masks hold unequal numbers of items. The loss of each is weighed by its number here, and the gradients
    are divided by the number in all before the step, so that splitting a batch changes nothing.

    Attributes:
        batch_idx: of the batch at hand; weighed once more, it counts once.
        items: how many the loss that was computed last is a mean over; None where it is a mean over samples, or one
            batch is the whole step.
    """

    def __init__(self) -> None:
        self.batch_idx = 0
        self.items: Tensor | None = None
        self._counts: dict[int, Tensor] = {}

    def weighed(self, total: Tensor, count: int | None = None) -> Tensor:
        """What the batch, or a part of it, adds to its step.

        Args:
            total: of the batch, a mean; or a part's share of it. A scalar with graph.
            count: items of the whole batch, where `total` is of a part.
        """
        if self.items is None:
            return total
        self._counts[self.batch_idx] = self.items if count is None else torch.full_like(self.items, count)
        return total * self._counts[self.batch_idx]

    @torch.no_grad()
    def divide(self, trainer: Trainer, parameters: Iterable[Tensor]) -> None:
        """Divide the gradients by the number of items that were weighed, in all processes."""
        if not self._counts:
            return
        count = torch.stack(list(self._counts.values())).sum().float()
        strategy: Any = trainer.strategy
        if trainer.world_size > 1:
            count = strategy.reduce(count, reduce_op="sum")
        # Lightning has divided by the number of batches, and the strategy by that of processes
        factor = trainer.accumulate_grad_batches * trainer.world_size / count.clamp(min=1)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def clear(self) -> None:
        """Begin a new step."""
        self._counts.clear()

    def state(self) -> dict[int, int]:
        """The numbers of the batches that wait for the step, for a checkpoint that holds their gradients."""
        return {batch_idx: int(count) for batch_idx, count in self._counts.items()}

    def restore(self, state: Mapping[int, int], device: torch.device) -> None:
        """Go on within a step, from what `state` gave."""
        self._counts = {batch_idx: torch.tensor(count, device=device) for batch_idx, count in state.items()}
