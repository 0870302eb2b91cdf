"""Students whose parameters are spread over the processes, each of which holds a part of every one."""

from __future__ import annotations

from typing import Any

from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students.stacks import find_stack
from knowledge_distillation.teachers.live import is_distributed


def shard(model: nn.Module, mesh: Any) -> None:
    """Shard a model in place by FSDP2: each of its repeated layers, where it has such, and the rest.

    Args:
        model: its forward then needs all processes of the mesh.
        mesh: one-dimensional `torch.distributed.DeviceMesh`.
    """
    from torch.distributed.fsdp import fully_shard  # a second of imports that one process does not need

    try:
        layers = [slot.module for slots in find_stack(model).layers for slot in slots]
    except ConfigError:
        layers = []
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Whether a forward of the model needs all processes."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrapped = any(isinstance(module, FullyShardedDataParallel) for module in model.modules())
    return wrapped or any(map(is_distributed, model.parameters()))
