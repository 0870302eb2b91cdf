"""In which order DDP adds up gradients: the same in every step of a training, and in one that goes on."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


def settle_buckets(wrapped: Any, module: LightningModule) -> None:
    """Let DDP arrange its buckets before the first step, in the order of the parameters; every process must call it.

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
