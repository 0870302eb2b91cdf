"""Training sets global switches; each test here leaves none behind."""

from __future__ import annotations

from tests.training.workplace import workplace

__all__ = ["workplace"]
