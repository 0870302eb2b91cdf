"""What the tests of refused calls share: how a table of calls and messages becomes test cases."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError

Refusals = Sequence[tuple[Callable[[], object], str]]
"""Calls, each with the pattern of the message that it must give."""


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape)


def refusals(*, shapes: Refusals, settings: Refusals) -> list[Any]:
    """One case a call: the error that it must raise, the call, the message."""
    assert shapes
    assert settings
    return [
        pytest.param(error, call, message, id=f"{error.__name__}-{re.sub(r'[^a-zA-Z0-9]+', '_', message)}")
        for error, table in ((ShapeError, shapes), (ConfigError, settings))
        for call, message in table
    ]
