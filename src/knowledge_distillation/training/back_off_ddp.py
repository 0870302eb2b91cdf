"""Out of memory in one of several processes: no other needs to know, as long as DDP gets each gradient once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from knowledge_distillation.errors import MemoryExceeded
from knowledge_distillation.objective import Objective
from knowledge_distillation.teachers.live import is_distributed


def undivided_by(trainer: Trainer, student: nn.Module, objective: Objective, teachers: Iterable[nn.Module]) -> str:
    """Why one process cannot take its batch in parts while the others take theirs whole, or ""."""
    if trainer.world_size == 1:
        return ""
    wrapped: Any = trainer.strategy.model
    if not isinstance(wrapped, DistributedDataParallel):
        return (
            f"with {type(trainer.strategy).__name__} every forward pass needs all processes, and parts are more of them"
        )
    if (
        wrapped.static_graph
        or wrapped._use_python_reducer
        or wrapped._delay_all_reduce_params
        or wrapped.mixed_precision is not None
    ):
        return "DDP with a static graph, its own precision, delayed sums or a compiled backward pass counts each pass"
    if any(isinstance(part, nn.SyncBatchNorm) for part in student.modules()):
        return "SyncBatchNorm waits for all processes in each forward pass, and parts are more of them"
    if any(map(_is_sharded, teachers)):
        return "a teacher that is sharded answers all processes at once, and parts ask it more often"
    return objective.gathered


def _is_sharded(model: nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule  # a second of imports

    # between two passes FSDP may hold whole parameters, so these alone do not tell
    return any(isinstance(part, FSDPModule) for part in model.modules()) or any(map(is_distributed, model.parameters()))


class Undone:
    """What a backward pass that ran out of memory left to do.

    A parameter that has its gradient by then has that of the whole batch, and DDP may be sending it already: both stay.
    The others get theirs from parts of the batch, without DDP's knowledge, and are handed to it when they are whole.
    """

    def __init__(self) -> None:
        self._before: dict[nn.Parameter, tuple[Tensor, int]] = {}
        self._gradients: dict[nn.Parameter, Tensor | None] = {}

    def begin(self, module: nn.Module) -> None:
        """Before a backward pass that adds to gradients: remember them, so that `note` sees which have changed."""
        self._before = {p: (p.grad, p.grad._version) for p in module.parameters() if p.grad is not None}

    def end(self) -> None:
        """After one that went well."""
        self._before = {}

    def note(self, module: nn.Module) -> None:
        """After one that failed."""
        self._gradients = {p: None for p in module.parameters() if p.requires_grad and not self._has_changed(p)}
        self._before = {}

    @property
    def is_hooked(self) -> bool:
        """Whether what is left to do would be changed twice, by hooks on gradients."""
        return any(parameter._backward_hooks for parameter in self._gradients)

    def add(self, loss: Tensor) -> None:
        """The gradients of a part's loss, none of them if memory runs out."""
        parameters = list(self._gradients)
        found = torch.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()
        for parameter, gradient in zip(parameters, found, strict=True):
            before = self._gradients[parameter]
            if gradient is not None:
                self._gradients[parameter] = gradient if before is None else before + gradient

    def hand_in(self, wrapped: DistributedDataParallel) -> None:
        """Give the sums to the parameters, as one backward pass does, which DDP waits for.

        Raises:
            MemoryExceeded: if DDP is not satisfied by them.
        """
        # the last parameters come first, as in a backward pass
        pairs = [(parameter, sums) for parameter, sums in self._gradients.items() if sums is not None][::-1]
        self._gradients = {}
        try:
            if pairs:
                torch.autograd.backward([parameter for parameter, _ in pairs], [sums for _, sums in pairs])
            wrapped.reducer._check_reducer_finalized()
        except RuntimeError as error:
            raise MemoryExceeded(
                "Memory ran out while gradients were being summed over the processes, and the rest could not be "
                "added: the others wait for this one in vain, and all must end. Use a smaller batch_size, a lower "
                f"precision or activation checkpointing. DDP said: {error}"
            ) from error

    def _has_changed(self, parameter: nn.Parameter) -> bool:
        if parameter not in self._before:
            return parameter.grad is not None
        gradient, version = self._before[parameter]
        return parameter.grad is not gradient or gradient._version != version
