"""Processes that a launcher has started: the Trainer need not be told how many there are."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment


def launched() -> dict[str, int]:
    """The Trainer's `devices` and `num_nodes`, as torchrun or srun has started processes; empty where neither has.

    Each node must run as many processes as the others.
    """
    if TorchElasticEnvironment.detect():
        processes = TorchElasticEnvironment().world_size()
        nodes = processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    elif SLURMEnvironment.detect():
        processes, nodes = SLURMEnvironment().world_size(), int(os.environ.get("SLURM_NNODES", 1))
    else:
        return {}
    return {"devices": processes // nodes, "num_nodes": nodes}
