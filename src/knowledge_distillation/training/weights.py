"""Weights from a safetensors file into a model: the one place where they are read."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_model
from torch import nn

from knowledge_distillation.errors import CheckpointError


def load_weights(model: nn.Module, file: str | Path) -> None:
    """Fill a model with the weights of a safetensors file, which holds no code.

    Args:
        model: filled in place; its names and shapes must be those of the file, none more and none less.
        file: as safetensors' `save_model` wrote it.

    Raises:
        CheckpointError: if the file is missing, is no safetensors file, is damaged, or holds another model's weights.
    """
    try:
        load_model(model, str(file))
    except Exception as error:  # a file from anywhere fails in more ways than safetensors has errors
        raise CheckpointError(f"{file} holds no weights of this model: {type(error).__name__}: {error}") from error
