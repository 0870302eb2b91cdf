"""What goes wrong for a user when a launcher starts processes and the Trainer expects another number of them."""

from __future__ import annotations

from typing import Any

import pytest

from knowledge_distillation.training.launched import launched

TORCHRUN = {"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "9", "LOCAL_RANK": "1"}
SRUN = {
    "SLURM_NTASKS": "32",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_NNODES": "4",
    "SLURM_JOB_NAME": "distil",
    "SLURM_PROCID": "9",
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [(TORCHRUN, {"devices": 8, "num_nodes": 2}), (SRUN, {"devices": 8, "num_nodes": 4}), ({}, {})],
    ids=["torchrun", "srun", "neither"],
)
def test_processes_are_counted_as_they_were_started(
    variables: dict[str, str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a recipe that runs on a laptop must be changed for every number of nodes, or Lightning refuses it."""
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected
