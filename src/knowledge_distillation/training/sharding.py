"""Students whose parameters are spread over the processes, each of which holds a part of every one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from knowledge_distillation.teachers.live import full, is_distributed


def shard(model: nn.Module, mesh: Any) -> None:
    """Shard a model in place by FSDP2: each layer of its lists (`nn.ModuleList`), and the rest.

    Args:
        model: taken as the first process has it; its forward then needs all processes of the mesh.
        mesh: one-dimensional `torch.distributed.DeviceMesh`.
    """
    from torch.distributed.fsdp import fully_shard  # a second of imports that one process does not need

    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            distributed.broadcast(tensor, src=0)
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Whether a forward of the model needs all processes."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrapped = any(isinstance(module, FullyShardedDataParallel) for module in model.modules())
    return wrapped or any(map(is_distributed, model.parameters()))


def full_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """The state of a sharded model with all of every tensor, on the CPU; every process must call it. None of others."""
    if not any(map(is_distributed, model.parameters())):
        return None
    return {name: full(tensor).detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The entries of the outermost lists."""
    for child in model.children():
        yield from child if isinstance(child, nn.ModuleList) else _layers(child)
