"""The numbers of a training: which steps are logged, what goes to the loggers, and the mean loss of an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from knowledge_distillation.errors import NonFiniteError


class StepLog:
    """Keeps losses on the device and reads them on logged steps only: no other step waits for the device.

    Lightning's own `self.log` is not used for steps, since it costs every step, logged or not.

    Attributes:
        latest: every component and the total of the last logged step, without graph.
    """

    def __init__(self) -> None:
        self.latest: dict[str, Tensor] = {}
        self._every: int = 50
        self._last: float = -1
        self._pending: list[Tensor] = []
        self._sum, self._count = 0.0, 0
        self._norms_due = False

    def begin_epoch(self, every: int, batches: float) -> None:
        """Plan an epoch: log the first, every n-th and the last of its batches (infinitely many, if not known)."""
        self._every, self._last = max(1, every), batches - 1

    def is_due(self, batch_idx: int) -> bool:
        """Whether this batch is logged."""
        return (batch_idx + 1) % self._every == 0 or batch_idx == 0 or batch_idx == self._last

    def note(self, total: Tensor) -> None:
        """Take in the total loss of a step, a detached scalar."""
        self._pending.append(total)

    def write(self, trainer: Trainer, total: Tensor, components: Mapping[str, Any], *, stops: bool) -> None:
        """Send one step's numbers to the loggers.

        Args:
            trainer: its loggers receive them, on the first rank.
            total: the loss, a detached scalar.
            components: by name, tensors with or without graph, or numbers.
            stops: whether a total that is not finite ends the training.

        Raises:
            NonFiniteError: if the total is NaN or infinite, and that ends the training.
        """
        self.latest = {name: _number(value) for name, value in components.items()}
        self.latest["train_final_loss"] = total
        numbers = {name: float(value) for name, value in self.latest.items()}
        if stops and not math.isfinite(numbers["train_final_loss"]):
            raise NonFiniteError(
                f"The training loss is {float(total)} at step {trainer.global_step}; components: "
                + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
                + ". Lower the learning rate, use bf16 or 32-bit precision, or look for bad samples."
            )
        self._add_up()
        self._norms_due = True
        send(trainer, {**numbers, "epoch": trainer.current_epoch})

    def takes_norms(self) -> bool:
        """Whether the optimiser step that comes now is the first since a logged batch; asking clears it."""
        due, self._norms_due = self._norms_due, False
        return due

    def end_epoch(self) -> float | None:
        """The mean loss of the epoch's steps, or None if there was none."""
        self._add_up()
        mean = self._sum / self._count if self._count else None
        self._sum, self._count = 0.0, 0
        return mean

    def state(self) -> dict[str, Any]:
        """Plain data from which `restore` goes on within an epoch, to the bit."""
        pending = torch.stack(self._pending).cpu() if self._pending else None
        return {"sum": self._sum, "count": self._count, "pending": pending, "norms_due": self._norms_due}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what `state` gave."""
        self._sum, self._count, self._norms_due = state["sum"], state["count"], state["norms_due"]
        self._pending = [] if state["pending"] is None else list(state["pending"].to(device).unbind())

    def _add_up(self) -> None:
        if self._pending:
            self._sum += float(torch.stack(self._pending).sum())
            self._count += len(self._pending)
            self._pending.clear()


def send(trainer: Trainer, numbers: Mapping[str, float], *, step: int | None = None) -> None:
    """Numbers by name to every logger of the trainer, on the first rank only; at this step unless one is given."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            logger.log_metrics(dict(numbers), step=trainer.global_step if step is None else step)


def _number(value: Any) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    return tensor if tensor.is_floating_point() else tensor.float()
