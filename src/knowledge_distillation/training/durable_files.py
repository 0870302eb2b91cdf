"""Checkpoint files that are whole or not there: written aside, flushed to the disk, renamed, and checked when read."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import CheckpointError, NonFiniteError

MARK = b"kd-sha256:"
SEALED = "kd_sealed"
"""Entry of a checkpoint that says that a digest stands behind it."""
BLOCK = 1 << 20


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint so that at any moment the path holds the earlier file or the new one, whole.

    The content goes to a temporary file beside it with its SHA-256 behind it, is flushed to the disk and renamed; then
    the folder is flushed. `torch.load` reads the file as any other.

    Args:
        checkpoint: tensors and plain data.
        path: where; an earlier file there is replaced.

    Raises:
        CheckpointError: if it cannot be written; names path and bytes, and the earlier file is as it was.
    """
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as aside:
            try:
                _write(checkpoint, aside)
            finally:
                written = aside.stat().st_size if aside.exists() else 0
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        kept = "The earlier file there is as it was." if path.exists() else "There is no earlier file."
        raise CheckpointError(
            f"The checkpoint {path} could not be written ({_reason(error)}): about {_size(checkpoint):,} bytes are "
            f"needed, {written:,} were written. {kept} Free some space, or choose another directory, and continue with "
            "resume='auto'."
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which is flushed to the disk and takes its place when the block ends.

    Where the block fails, `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        handle = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        aside.replace(path)
        _flush_folder(path.parent)
    finally:
        with suppress(OSError):  # its folder may be no folder
            aside.unlink()


def _write(checkpoint: Mapping[str, Any], path: Path) -> None:
    with path.open("wb+") as file:
        torch.save({**checkpoint, SEALED: True}, file)
        file.seek(0)
        digest = _digest(file, None)
        file.seek(0, os.SEEK_END)
        file.write(MARK + digest.encode())


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint, of this toolkit or of another; nothing in the file is run.

    Args:
        path: of a .ckpt file.
        map_location: as of `torch.load`.

    Raises:
        CheckpointError: if it is missing, damaged (its bytes are not those that were written), or holds more than
            tensors and plain data.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(MARK) - 64))
            mark, _, given = file.read().partition(MARK)
            sealed = not mark and len(given) == 64
            file.seek(0)
            if sealed and _digest(file, size - len(MARK) - 64).encode() != given:
                raise CheckpointError(
                    f"The checkpoint {path} is damaged: its {size:,} bytes do not have the SHA-256 that was written "
                    "with them. Continue from another checkpoint of the run."
                )
            file.seek(0)
            _check_not_packed(file, size)
            content = torch.load(file, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # damaged files fail in as many ways as there are bytes
        raise CheckpointError(
            f"The checkpoint {path} cannot be read safely ({type(error).__name__}): it is missing, damaged, or holds "
            "more than tensors and plain data."
        ) from None
    if not isinstance(content, dict) or (content.pop(SEALED, False) and not sealed):
        raise CheckpointError(f"The checkpoint {path} is damaged: its end is missing. Continue from another one.")
    return content


def not_finite(value: Any, name: str = "") -> Iterator[str]:
    """The names of all tensors in mappings and lists that hold NaN or infinite values."""
    for place, tensor in _tensors(value, name):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            yield place


def check_finite(checkpoint: Mapping[str, Any], given: Container[str] = ()) -> None:
    """Raise NonFiniteError if the weights or the optimiser's state of a checkpoint hold NaN or infinite values.

    Args:
        checkpoint: about to be written.
        given: names of entries of state_dict that were so before the training, such as a mask of -inf. Where there are
            some, the optimiser's state is not looked at.
    """
    for section in ("state_dict",) if given else ("state_dict", "optimizer_states"):
        for name in not_finite(checkpoint.get(section), section):
            if name.removeprefix("state_dict.") not in given:
                raise NonFiniteError(
                    f"{name} holds NaN or infinite values, so no checkpoint is written: the earlier ones stay, and the "
                    "run can go on from them with a lower learning rate, or nonfinite='skip' or 'rollback'."
                )


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _tensors(entry, f"{name}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from _tensors(entry, f"{name}.{number}")


def _check_not_packed(file: Any, size: int) -> None:
    """Raise ValueError if an archive unpacks to more than its bytes, as torch never writes one: a small file would fill
    the memory."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > size:
            raise ValueError(f"it unpacks to {unpacked:,} bytes")
    file.seek(0)


def _size(checkpoint: Mapping[str, Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for _, tensor in _tensors(checkpoint, ""))


def _digest(file: Any, length: int | None) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK if length is None else min(BLOCK, length)):
        digest.update(block)
        if length is not None:
            length -= len(block)
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else f"{type(error).__name__}: {error}"
