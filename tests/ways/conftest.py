"""Training sets global switches; each test here leaves none behind."""

from __future__ import annotations

from tests.training.workplace import pytest_itemcollected, workplace

__all__ = ["pytest_itemcollected", "workplace"]
