"""Losses that remember: banks and queues hold what the papers say, batch after batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.laws.memories import MEMORIES


@pytest.mark.parametrize("check", [check for checks in MEMORIES.values() for check in checks])
def test_memory(check: Callable[[], None]) -> None:
    """A bank that forgets, repeats or takes in padding would poison every later batch unnoticed."""
    check()
