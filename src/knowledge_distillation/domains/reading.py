"""Texts from local files, and which samples of a data set are for validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between

logger = logging.getLogger(__name__)
SHOWN = 20
"""Files that a message lists."""
Named = Mapping[str, str | Sequence[str]]
"""Name of a part -> patterns of file names."""


def texts_by_part(path: Path, train: str | Sequence[str], validation: Named) -> dict[str, list[str]]:
    """The texts of a file, or of a folder's files, by part; "train" is one of them.

    Args:
        path: of the file or folder; of a folder every file in it counts, in the order of their names. Those that are no
            text in UTF-8 are left out, and the log lists them.
        train: patterns of the names of training files, such as "19*"; what is validated is never trained on.
        validation: name -> patterns.

    Raises:
        ConfigError: if there is no file for a part, or at least half of its files are no text in UTF-8.
    """
    if not path.exists():
        raise ConfigError(f"There is no file or folder {path} to read texts from. Name another path.")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    parts = {name: [file for file in files if _matches(file, patterns)] for name, patterns in validation.items()}
    held = {file for part in parts.values() for file in part}
    parts["train"] = [file for file in files if _matches(file, train) and file not in held]
    for name, found in parts.items():
        if not found:
            raise ConfigError(
                f"{path} must hold files for {name!r}, and none of its {len(files)} fits "
                f"{validation.get(name, train)!r}. Name another folder or pattern; the first files are "
                f"{[file.name for file in files[:3]]}."
            )
    return {name: _texts(name, found) for name, found in parts.items()}


def _texts(part: str, files: Sequence[Path]) -> list[str]:
    texts, complaints = [], []
    for file in files:
        try:
            texts.append(read_text(file))
        except ConfigError as error:
            complaints.append(error)
    if len(complaints) >= len(texts) and complaints:
        raise complaints[0]
    if complaints:
        listed = " ".join(map(str, complaints[:SHOWN]))
        more = f" And {len(complaints) - SHOWN} more." if len(complaints) > SHOWN else ""
        logger.warning("%d of %d files of %s are left out. %s%s", len(complaints), len(files), part, listed, more)
    return texts


def _matches(file: Path, patterns: str | Sequence[str]) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: if it is missing or no text in UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} must be a text file in UTF-8, and cannot be read: {error}.") from error


def held_out(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers for training and for validation, in order; at least one of each.

    Args:
        count: how many there are, >= 2.
        share: of them for validation, above 0 and below 1.
        seed: chooses which.

    Raises:
        ConfigError: if there are too few, or the share is none.
    """
    check_between("validation", share, 0.0, 1.0)
    if count < 2:
        raise ConfigError(
            f"To hold a share of the data out, there must be at least 2 samples, and there is {count}: the score would "
            "be that of the training data. Give more text or shorter rows, or name validation files."
        )
    held = min(count - 1, max(1, round(share * count)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[held:]), sorted(order[:held])
