"""The command line sets log levels, handlers and switches; each test here leaves none behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.training.workplace import workplace

__all__ = ["logging_as_before", "workplace"]
CHANGED = ("", "lightning", "lightning.pytorch", "lightning.fabric", "lightning_utilities", "torch")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Handlers and levels are put back: a handler on the captured stderr of a test must not outlive it."""
    loggers = [logging.getLogger(name) for name in CHANGED]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
