"""The student's weights as a safetensors file, which holds no code and no structure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.job import Job
from knowledge_distillation.training.weights import load_weights


def write_safetensors(job: Job, folder: Path) -> dict[str, Any]:
    """Write student.safetensors, weights in their own type."""
    file = folder / "student.safetensors"
    save_model(job.plain.student, str(file))
    return {"file": file.name, "exporter": "safetensors"}


def open_safetensors(file: Path, structure: Plain | None, names: Sequence[str]) -> nn.Module:
    """A fresh student with the file's weights.

    Args:
        file: the weights.
        structure: a student of the same class; copied, and its weights made NaN before, so that none can stay.

    Raises:
        ConfigError: if there is no structure.
        CheckpointError: if the file does not hold the structure's weights.
    """
    if structure is None:
        raise ConfigError(
            "A safetensors file holds weights without the student's code: pass the model that they belong to, "
            "load(directory, model=...)."
        )
    fresh = copy.deepcopy(structure)
    with torch.no_grad():
        for value in fresh.student.state_dict().values():
            if isinstance(value, Tensor):
                value.fill_(float("nan") if value.is_floating_point() else 0)
    load_weights(fresh.student, file)
    return fresh
