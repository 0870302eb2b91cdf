"""The directory of a run: which one, what it may be continued from, and the plain data that is written there."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.training.places import next_free


def open_directory(directory: str | Path | None, resume: str | Path | None) -> Path:
    """Make the directory of a run.

    Args:
        directory: where; None for the next free runs/run-NNN.
        resume: None for a fresh run; anything else continues what lies there.

    Raises:
        ConfigError: if another run lies there and is not to be continued, or the directory cannot be made.
    """
    path = next_free(Path("runs"), "run-{:03d}") if directory is None else Path(directory)
    if resume is None and any((path / name).exists() for name in ("metrics.csv", "checkpoints", "student.safetensors")):
        raise ConfigError(
            f"{path} already holds a run, which would be overwritten. Choose another directory, or continue it with "
            "resume='auto'."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The run directory {path} cannot be made: {error}") from error
    return path


def checkpoint_to_resume(directory: Path, resume: str | Path | None) -> str | None:
    """The checkpoint that `resume` means: None for none, "auto" for the directory's last, else a path.

    Raises:
        CheckpointError: if it is not there.
    """
    if resume is None or str(resume) == "":
        return None
    path = directory / "checkpoints" / "last.ckpt" if str(resume) == "auto" else Path(resume)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint to resume from at {path}.")
    return str(path)


def plain(value: Any) -> Any:
    """Plain data for recipe.yaml: values as they are, objects by their type and settings."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, nn.Module) and hasattr(value, "facts"):
        settings = {
            key: plain(entry) for key, entry in vars(value).items() if not key.startswith("_") and key != "training"
        }
        return {"name": type(value).__name__, **settings}
    return getattr(value, "__qualname__", type(value).__qualname__)


def environment_facts() -> dict[str, Any]:
    """Versions and hardware of this process, as plain data."""
    packages = ("knowledge-distillation-toolkit", "torch", "lightning", "torchmetrics", "safetensors", "numpy")
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }
