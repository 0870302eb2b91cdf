"""A folder of their own for tests that write runs."""

from __future__ import annotations

from tests.training.workplace import workplace

__all__ = ["workplace"]
