"""The student and the data of a finished run, made again from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from knowledge_distillation.domains.catalogue import build_data, build_model
from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.recipes.reading import Recipe, read_recipe


def rebuilt(run_directory: str | Path, own: Mapping[str, Any] | None = None) -> tuple[nn.Module, Data, Recipe]:
    """The trained student of a run that `kd train RECIPE` made, with the data it was validated on.

    Args:
        run_directory: holds recipe.yaml, whose names say what to build, and student.safetensors.
        own: the user's models and data sets by name, as of `run_recipe`.

    Returns:
        The student on the CPU in eval mode, the data, and the recipe. torch's random state is left as it was.

    Raises:
        ConfigError: if there is no recipe, or it names no student and data because `distill` was called from Python.
        CheckpointError: if the weights are missing or do not fit.
    """
    home = Path(run_directory)
    file = home / "recipe.yaml"
    if not file.is_file():
        raise ConfigError(f"{home} holds no recipe.yaml, so it is no run. Name the directory that `kd train` wrote.")
    recipe = _recipe(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.get("seed", 0))
        data: Any = build_data(recipe.data["name"], _settings(recipe.data), own or {})
        if not isinstance(data, Data):
            raise ConfigError(
                f"The data set {recipe.data['name']!r} must return a domains.data.Data, got {type(data).__name__}."
            )
        student = build_model(recipe.student["name"], data.facts, _settings(recipe.student), own or {})
    weights = home / "student.safetensors"
    try:
        load_model(student, str(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{weights} must hold the weights of the student {recipe.student['name']!r} and does not: {error}. A "
            "student that keeps parts of its loss, as 'simkd' makes, is exported from Python: run.export(...)."
        ) from error
    return student.eval(), data, recipe


def _recipe(file: Path) -> Recipe:
    try:
        return read_recipe(str(file))
    except ConfigError as error:
        if "lacks the section 'data'" not in str(error):
            raise
        raise ConfigError(
            f"{file} names no data set: this run was made by kd.distill in Python, whose student and loaders cannot be "
            'built from a file. Export in the program that trained it: run.export("onnx").'
        ) from error


def _settings(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in ("name", "weights")}
