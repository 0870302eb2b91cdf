"""Losses that remember, learn beforehand or give values per anchor: the parts that the laws cannot see."""

from __future__ import annotations

import pytest

from tests.laws.companions import COMPANIONS, Check

CHECKS = [pytest.param(check, id=f"{loss}-{check.__name__}") for loss, checks in COMPANIONS.items() for check in checks]


@pytest.mark.parametrize("check", CHECKS)
def test_companion(check: Check) -> None:
    """A bank that takes in padding, or a value credited to the wrong anchor, would train unnoticed."""
    check()
