"""Out of memory: the batch is taken in smaller parts, whose gradients add up to those of the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from knowledge_distillation.errors import MemoryExceeded
from knowledge_distillation.objective.share import Share
from knowledge_distillation.training.back_off_ddp import Undone
from knowledge_distillation.training.batch_parts import part_of, samples_of

if TYPE_CHECKING:
    from knowledge_distillation.training.step_module import StepModule

logger = logging.getLogger(__name__)
Losses = tuple[Tensor, dict[str, Tensor]]
"""Total and components of one batch, or of a part of it."""


class BackOff:
    """Halves the number of samples that are taken at a time, whenever memory runs out, and stays with it.

    The effective batch is the same: the loss of each part counts by its share of the samples, or of the items that the
    mask counts. Only what looks at several samples at once sees fewer of them: batch normalisation in the student.

    All parts but the last have their backward pass within `training_step`, before Lightning's own: of a batch there is
    one loss with graph and one backward pass after it, in parts or not. So DDP reduces once, whatever a process does.

    Attributes:
        at_a_time: at most so many samples; None for whole batches.
        is_behind: whether gradients are missing, which `finish` adds, since memory ran out in a backward pass.
        is_at_work: whether the backward pass at hand is that of a part.
        waiting: gradients of earlier parts, which belong to the backward pass that comes.
    """

    def __init__(self) -> None:
        self.at_a_time: int | None = None
        self.is_behind = self.is_at_work = False
        self.waiting: dict[nn.Parameter, Tensor] = {}
        self._batch: Any = None
        self._begin = 0
        self._counts: list[int] | None = None
        self._logs = self._is_counted = self._frees = False
        self._undone = Undone()

    def losses(self, module: StepModule, batch: Any, logs: bool) -> tuple[Tensor, dict[str, Tensor], int | None]:
        """Total and components of a batch, and how many items it has if it was taken in parts.

        The total has the graph of the last part only, or of the whole.

        Raises:
            MemoryExceeded: see `_halve`.
        """
        self._batch, self._logs, self._begin = batch, logs, 0
        self._is_counted = self.is_at_work = False
        if self.at_a_time is None:
            try:
                return (*module.distillation_loss(batch, monitors=logs), None)
            except RuntimeError as error:
                self._halve(module, error)
        with set_aside(module) as self.waiting:  # Lightning clears the gradients before its own backward pass
            found = self._in_parts(module, self._add_up, leaves_last=True)
        totals = torch.stack([total for total, _ in found])
        components = {name: torch.stack([part[name] for _, part in found]).sum() for name in found[0][1]}
        return totals.sum(), components, None if self._counts is None else sum(self._counts)

    @contextmanager
    def adding(self, module: StepModule) -> Iterator[None]:
        """Around a backward pass that adds to gradients, those of earlier parts or of earlier batches."""
        add(self.waiting)
        self.waiting = {}
        if module.trainer.world_size == 1:
            with all_or_nothing(module):
                yield
        else:
            self._undone.begin(module)
            yield
            self._undone.end()

    def failed(self, module: StepModule, error: RuntimeError, *, added: bool) -> None:
        """A backward pass failed; if memory ran out, leave the rest to `finish`, else raise the error.

        Args:
            module: it was of.
            error: what it raised.
            added: whether it was within `adding`.

        Raises:
            MemoryExceeded: see `_halve`; also if gradients have hooks, which DDP must not run twice.
        """
        self._halve(module, error)
        if module.trainer.world_size > 1:
            self._undone.note(module)
            if self._undone.is_hooked:
                raise self._refusal(
                    module, "hooks on the parameters would change their gradients twice", error
                ) from error
        elif not added:
            module.zero_grad()
        self.is_behind = True

    def finish(self, module: StepModule) -> None:
        """Add the gradients that a backward pass did not come to.

        Raises:
            MemoryExceeded: see `_halve`, and `Undone.hand_in`.
        """
        trainer: Any = module.trainer
        if trainer.world_size == 1:
            self._in_parts(module, self._add_up)
        else:
            self._in_parts(module, self._collect)
            self._undone.hand_in(trainer.strategy.model)
        self._batch, self.is_behind = None, False

    def _in_parts(
        self, module: StepModule, backward: Callable[[StepModule, Tensor], None], leaves_last: bool = False
    ) -> list[Losses]:
        """Forward and backward of every part from where gradients are missing; the last may keep its graph instead."""
        trainer: Any = module.trainer
        samples = samples_of(self._batch)
        found: list[Losses] = []
        begin, self.is_at_work = self._begin, True
        while begin < samples:
            if self._frees:
                self._frees = False
                garbage_collection_cuda()
            self._begin = begin
            try:
                at_a_time = self.at_a_time or samples
                end = min(samples, begin + at_a_time)
                with trainer.precision_plugin.train_step_context():
                    share = self._share(module, begin, end, samples, at_a_time)
                    part = part_of(self._batch, begin, end)
                    total, components = module.distillation_loss(part, monitors=self._logs, share=share)
                if not (leaves_last and end == samples):
                    items = None if self._counts is None else sum(self._counts)
                    loss = module.denominator.weighed(total, items) / trainer.accumulate_grad_batches
                    with torch.autocast(module.device.type, enabled=False):  # within training_step it is on
                        backward(module, loss)
                    total = total.detach()
                found.append((total, {name: torch.as_tensor(value).detach() for name, value in components.items()}))
                begin = end
            except RuntimeError as error:
                self._halve(module, error)
        self.is_at_work = False
        return found

    def _share(self, module: StepModule, begin: int, end: int, samples: int, at_a_time: int) -> Share:
        if not self._is_counted:
            self._counts, self._is_counted = module.counted_items(self._batch, at_a_time), True
            torch.clear_autocast_cache()  # of weights that were cast without graph
        counts = self._counts
        items = None if counts is None else sum(counts[begin:end]) / max(1, sum(counts))
        return Share((end - begin) / samples, items)

    def _add_up(self, module: StepModule, loss: Tensor) -> None:
        with all_or_nothing(module):
            module.trainer.strategy.backward(loss, None)

    def _collect(self, module: StepModule, loss: Tensor) -> None:
        precision: Any = module.trainer.precision_plugin
        self._undone.add(precision.pre_backward(loss, module))

    def _halve(self, module: StepModule, error: RuntimeError) -> None:
        """Half as many samples at a time from here on, if this error says that memory ran out; else raise it.

        Raises:
            MemoryExceeded: if one sample alone does not fit, or parts of a batch do not add up to the whole.
        """
        if not (isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)):
            raise error
        before, step = self._size, module.trainer.global_step
        reason = module.undivided or ("one sample is the smallest part" if before == 1 else "")
        if reason:
            raise self._refusal(module, reason, error) from error
        self.at_a_time = before // 2
        self._frees = True
        normalises = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        logger.warning(
            "step %d: memory ran out with %d samples at a time%s; from here on batches are taken in parts of %d, whose "
            "gradients add up to the same step%s",
            step,
            before,
            f" in process {module.global_rank}" if module.trainer.world_size > 1 else "",
            self.at_a_time,
            "; only batch normalisation sees fewer samples at a time" if normalises else "",
        )

    @property
    def _size(self) -> int:
        samples = samples_of(self._batch)
        return min(self.at_a_time or samples, samples)

    def _refusal(self, module: StepModule, reason: str, error: RuntimeError) -> MemoryExceeded:
        return MemoryExceeded(
            f"Memory ran out at step {module.trainer.global_step} with {self._size} samples at a time, and they cannot "
            f"be taken in smaller parts: {reason}. Use a smaller batch_size, a lower precision or activation "
            f"checkpointing. The device said: {error}"
        )


@contextmanager
def set_aside(module: nn.Module) -> Iterator[dict[nn.Parameter, Tensor]]:
    """Gradients begin at none within; afterwards they are those of before again, and the dict has what came within."""
    before = [(parameter, parameter.grad) for parameter in module.parameters() if parameter.requires_grad]
    for parameter, _ in before:
        parameter.grad = None
    found: dict[nn.Parameter, Tensor] = {}
    try:
        yield found
        found.update((parameter, parameter.grad) for parameter, _ in before if parameter.grad is not None)
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient


@contextmanager
def all_or_nothing(module: nn.Module) -> Iterator[None]:
    """A backward pass within adds all its gradients; one that fails leaves them as they were."""
    with set_aside(module) as found:
        yield
    add(found)


def add(gradients: dict[nn.Parameter, Tensor]) -> None:
    """Add them to those that the parameters have."""
    for parameter, gradient in gradients.items():
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
