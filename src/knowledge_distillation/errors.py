"""Every error the toolkit raises on purpose. Catch `DistillationError` to catch them all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DistillationError(Exception):
    """Base class. The message says what must hold, what came, the harm, and what to do."""


class ConfigError(DistillationError, ValueError):
    """An argument, a recipe key or a name is wrong."""


class ShapeError(DistillationError, ValueError):
    """Two tensors do not fit each other or their documented shape."""


class ModelContractError(DistillationError, TypeError):
    """A model, a batch or an inference pipeline does not speak as its adapter expects."""


class CaptureError(DistillationError):
    """A tap could not be placed, or never fired."""


class NonFiniteError(DistillationError, FloatingPointError):
    """NaN or infinity where a finite number must stand."""


class MemoryExceeded(DistillationError, RuntimeError):
    """Memory ran out, and smaller parts of a batch are no help."""


class CheckpointError(DistillationError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class CacheError(DistillationError):
    """A teacher cache is missing, damaged, unfinished, or belongs to another teacher or other data."""


class TeacherError(DistillationError, RuntimeError):
    """A teacher outside this process did not answer, or answered what cannot be taught."""


class ExportError(DistillationError, RuntimeError):
    """A student cannot be written in a form, or what was written does not answer as the student does."""


class MissingExtraError(DistillationError, ImportError):
    """A feature needs an optional package that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are nearest to `name`, and list all of them.

    Args:
        name: what the user wrote.
        known: every accepted name.

    Returns:
        A sentence to end an error message with.
    """
    names = sorted(set(map(str, known)))
    by_folded: dict[str, list[str]] = {}
    for known_name in names:
        by_folded.setdefault(known_name.casefold(), []).append(known_name)
    found = difflib.get_close_matches(str(name).casefold(), by_folded, n=3, cutoff=0.5)
    close = [known_name for folded in found for known_name in by_folded[folded]]
    listed = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    meant = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}Known: {listed or '(none)'}."


class Terminated(BaseException):
    """SIGTERM ended a training, once its state was written. As KeyboardInterrupt, it is no error of the program's."""
