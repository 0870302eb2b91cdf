"""Out of memory: the batch is taken in smaller parts, whose gradients add up to those of the whole."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from knowledge_distillation.errors import MemoryExceeded
from knowledge_distillation.objective.share import Share
from knowledge_distillation.training.batch_parts import part_of, samples_of

if TYPE_CHECKING:
    from knowledge_distillation.training.step_module import StepModule

logger = logging.getLogger(__name__)
Losses = tuple[Tensor, dict[str, Tensor]]
"""Total and components of one batch."""


class BackOff:
    """Halves the number of samples that are taken at a time, whenever memory runs out, and stays with it.

    The effective batch is the same: the loss of each part counts by its share of the samples, or of the items that the
    mask counts. Only what looks at several samples at once sees fewer of them: batch normalisation in the student.

    Attributes:
        at_a_time: at most so many samples; None for whole batches.
        is_behind: whether a batch waits for `finish`.
    """

    def __init__(self) -> None:
        self.at_a_time: int | None = None
        self.is_behind = False
        self._batch: Any = None
        self._logs = self._is_noted = False
        self._finishing = self._frees = False

    def whole(self, module: StepModule, batch: Any, logs: bool) -> Losses | None:
        """The losses of a whole batch, with graph; None where it is to be taken in parts by `finish`.

        Raises:
            MemoryExceeded: see `_halve`.
        """
        self._batch, self._logs, self._is_noted = batch, logs, True
        if self.at_a_time is None:
            try:
                return module.distillation_loss(batch, monitors=logs)
            except RuntimeError as error:
                self._halve(module, error)
        self.is_behind, self._is_noted = True, False
        return None

    def failed(self, module: StepModule, error: RuntimeError) -> None:
        """A backward pass failed; if memory ran out, leave the batch to `finish`, else raise the error.

        Raises:
            MemoryExceeded: see `_halve`.
        """
        if self._finishing:
            raise error
        self._halve(module, error)
        self.is_behind = True

    def finish(self, module: StepModule) -> tuple[Tensor, dict[str, Tensor], bool] | None:
        """Take the batch that waits in parts, forward and backward.

        Returns:
            Its total and components, without graph, and whether it is a logged one; None if they are known, since
            memory ran out in the backward pass.

        Raises:
            MemoryExceeded: see `_halve`.
        """
        samples = samples_of(self._batch)
        counts: list[int] | None = None
        is_counted = False
        found: list[Losses] = []
        begin, self._finishing = 0, True
        while begin < samples:
            if self._frees:
                self._frees = False
                garbage_collection_cuda()
            try:
                at_a_time = self.at_a_time or samples
                if not is_counted:
                    counts, is_counted = module.counted_items(self._batch, at_a_time), True
                end = min(samples, begin + at_a_time)
                share = Share((end - begin) / samples, _share(counts, begin, end))
                found.append(self._part(module, begin, end, share, None if counts is None else sum(counts)))
                begin = end
            except RuntimeError as error:
                self._halve(module, error)
        self._batch, self.is_behind, self._finishing = None, False, False
        if self._is_noted:
            return None
        totals = torch.stack([total for total, _ in found])
        components = {name: torch.stack([part[name] for _, part in found]).sum() for name in found[0][1]}
        return totals.sum(), components, self._logs

    def _part(self, module: StepModule, begin: int, end: int, share: Share, items: int | None) -> Losses:
        trainer: Any = module.trainer
        with all_or_nothing(module):
            with trainer.precision_plugin.train_step_context():
                part = part_of(self._batch, begin, end)
                total, components = module.distillation_loss(part, monitors=self._logs, share=share)
            trainer.strategy.backward(module.denominator.weighed(total, items) / trainer.accumulate_grad_batches, None)
        return total.detach(), {name: torch.as_tensor(value).detach() for name, value in components.items()}

    def _halve(self, module: StepModule, error: RuntimeError) -> None:
        """Half as many samples at a time from here on, if this error says that memory ran out; else raise it.

        Raises:
            MemoryExceeded: if one sample alone does not fit, or parts of a batch do not add up to the whole.
        """
        if not (isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)):
            raise error
        samples = samples_of(self._batch)
        before, step = min(self.at_a_time or samples, samples), module.trainer.global_step
        reason = module.undivided or ("one sample is the smallest part" if before == 1 else "")
        if reason:
            raise MemoryExceeded(
                f"Memory ran out at step {step} with {before} samples at a time, and they cannot be taken in smaller "
                f"parts: {reason}. Use a smaller batch_size, a lower precision or activation checkpointing. The device "
                f"said: {error}"
            ) from error
        self.at_a_time = before // 2
        self._frees = True
        normalises = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        logger.warning(
            "step %d: memory ran out with %d samples at a time; from here on batches are taken in parts of %d, whose "
            "gradients add up to the same step%s",
            step,
            before,
            self.at_a_time,
            "; only batch normalisation sees fewer samples at a time" if normalises else "",
        )
        warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")  # which is meant


@contextmanager
def all_or_nothing(module: nn.Module) -> Iterator[None]:
    """A backward pass within adds all its gradients; one that fails leaves them as they were."""
    before = [(parameter, parameter.grad) for parameter in module.parameters() if parameter.requires_grad]
    for parameter, _ in before:
        parameter.grad = None
    try:
        yield
    except BaseException:
        for parameter, gradient in before:
            parameter.grad = gradient
        raise
    for parameter, gradient in before:
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)


def _share(counts: Sequence[int] | None, begin: int, end: int) -> float | None:
    return None if counts is None else sum(counts[begin:end]) / max(1, sum(counts))
