"""One training at a time in a directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType

from lightning.pytorch.utilities import rank_zero_only

from knowledge_distillation.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no flock; there the folder is not locked
    fcntl = None  # type: ignore[assignment]

_HELD: set[int] = set()


def _let_go() -> None:
    """Workers of a loader are forked from a training, and may outlive one that is killed: the lock must not."""
    while _HELD:
        os.close(_HELD.pop())


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)


class RunLock:
    """Holds the lock of a run's directory while a block runs, on the first rank.

    The lock is the system's, on the file `.lock`: it ends with the process that holds it, however that ends.

    Args:
        directory: of the run; it exists.

    Raises:
        ConfigError: on entering, if another training holds the lock; names its process and machine.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / ".lock"
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        if fcntl is None or getattr(rank_zero_only, "rank", 0) not in (0, None):
            return self
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise ConfigError(
                f"Another training writes to {self.path.parent} ({holder}); two would overwrite each other's "
                "checkpoints. Wait for it, or choose another directory."
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._handle = handle
        _HELD.add(handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None and self._handle in _HELD:
            os.ftruncate(self._handle, 0)  # not removed: another process may be waiting on this very file
            _HELD.discard(self._handle)
            os.close(self._handle)
            self._handle = None
