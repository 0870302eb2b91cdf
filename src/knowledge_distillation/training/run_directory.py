"""The directory of a run: which one, what it may be continued from, and the plain data that is written there."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.training.durable_files import read_checkpoint
from knowledge_distillation.training.places import next_free
from knowledge_distillation.untrusted import check_no_links_out

logger = logging.getLogger(__name__)
SHOWN = "KD_RUN_DIRECTORY"
RECIPE = "recipe.yaml"
"""Written before the first step: where it lies, a run has begun."""


def open_directory(directory: str | Path | None, resume: str | Path | None) -> Path:
    """Make the directory of a run; on any rank but the first, the one that the first has made.

    Args:
        directory: where; None for the next free runs/run-NNN.
        resume: None for a fresh run; anything else continues what lies there.

    Raises:
        ConfigError: if another run lies there and is not to be continued, the directory cannot be made, or a link in it
            leads out of it.
    """
    if getattr(rank_zero_only, "rank", 0) not in (0, None):
        return _given_to_rank(directory)
    if directory == "":
        raise ConfigError(
            "directory must name a folder, got '': the run would lie among your own files. Use '.' for it."
        )
    path = next_free(Path("runs"), "run-{:03d}") if directory is None else Path(directory)
    try:
        held = any((path / name).exists() for name in ("metrics.csv", "checkpoints", "student.safetensors"))
        if not held or resume is not None:
            path.mkdir(parents=True, exist_ok=True)
            check_no_links_out(path)
            return path
    except (OSError, ValueError) as error:  # ValueError: letters that no path has
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"The run directory {str(path)!r} cannot be made: {error}") from error
    raise ConfigError(
        f"{path} already holds a run, which would be overwritten. Choose another directory, or continue it with "
        "resume='auto'."
    )


def _given_to_rank(directory: str | Path | None) -> Path:
    given = os.environ.get(SHOWN) or directory
    if given is None:
        raise ConfigError(
            "Several processes were started, and each must know the run's directory: pass directory=..., the same in "
            "all of them."
        )
    return Path(given)


@contextmanager
def shown_to_ranks(directory: Path) -> Iterator[None]:
    """Inside the block, processes that Lightning starts find this directory instead of choosing one."""
    os.environ[SHOWN] = str(directory)
    try:
        yield
    finally:
        os.environ.pop(SHOWN, None)


def checkpoint_to_resume(directory: Path, resume: str | Path | None) -> str | None:
    """The checkpoint that `resume` means: None for none, "auto" for the newest whole one of the run, else a path.

    A run that ended before its first checkpoint has none: there "auto" begins it again, and says so.

    Raises:
        CheckpointError: if there is none and no run has begun there, or each one in the directory is damaged.
    """
    if resume is None or str(resume) == "":
        return None
    if str(resume) == "auto":
        if (directory / RECIPE).is_file() and not any((directory / "checkpoints").glob("*.ckpt")):
            logger.warning("The run in %s ended before its first checkpoint and begins again.", directory)
            return None
        return str(_newest_whole(directory / "checkpoints"))
    if not is_file(resume):
        raise CheckpointError(f"There is no checkpoint to resume from at {resume}.")
    return str(resume)


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False for a path that cannot be."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a path too long, or with letters that no path has
        return False


def _newest_whole(folder: Path) -> Path:
    last = folder / "last.ckpt"
    others = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = [*([last] if last.is_file() else []), *(path for path in others if path != last)]
    if not found:
        raise CheckpointError(f"There is no checkpoint to resume from at {last}, as resume='auto' asks.")
    damage = []
    for path in found:
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            damage.append(str(error))
            logger.warning("%s The run goes on from an earlier one.", error)
            continue
        return path
    raise CheckpointError(f"None of the {len(found)} checkpoints in {folder} can be read: {damage[0]}")


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
