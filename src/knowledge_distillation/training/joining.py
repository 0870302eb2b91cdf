"""What several processes settle with each other: before their first step, and whether a step is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel


def leave_out(module: LightningModule, buffers: Iterable[str]) -> None:
    """Let DDP not send these buffers, which it otherwise does before every step; before DDP wraps the module."""
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, list(buffers))  # type: ignore[no-untyped-call]


def join(trainer: Trainer, module: LightningModule, buffers: Iterable[Tensor]) -> None:
    """Give all processes the first one's buffers, and sums one order; every process must call it, alone or not."""
    if trainer.world_size > 1:
        for buffer in buffers:
            distributed.broadcast(buffer, src=0)
    if trainer.world_size > 2:
        _settle_buckets(trainer.strategy.model, module)


def all_say(mine: bool, device: torch.device) -> bool:
    """Whether every process says yes; each must call it with its own answer, and each gets the same."""
    answer = torch.tensor(float(mine), device=device)
    distributed.all_reduce(answer, distributed.ReduceOp.MIN)
    return bool(answer)


def _settle_buckets(wrapped: Any, module: LightningModule) -> None:
    """Let DDP arrange its buckets before the first step, in the order of the parameters.

    Otherwise DDP arranges them anew after the first backward pass. Of more than two processes the arrangement decides
    in which order numbers are added, so a training that goes on would differ in the last bit from its first step on.

    Args:
        wrapped: what the strategy trains; anything but DDP that arranges buckets is left alone.
        module: inside it; its gradients are None afterwards.
    """
    arranges = (
        isinstance(wrapped, DistributedDataParallel)
        and not wrapped.static_graph
        and not wrapped.find_unused_parameters
        and not wrapped._comm_hooks
    )
    if not arranges:
        return
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def nothing(zero: Tensor) -> Tensor:
        for parameter in parameters:
            zero = zero + 0 * parameter.sum()
        return zero

    module.forward = nothing  # type: ignore[method-assign]
    try:
        wrapped(torch.zeros((), device=module.device)).backward()
    finally:
        del module.forward
    for parameter in parameters:
        parameter.grad = None
