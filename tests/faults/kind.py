"""A kind of fault: how it is injected, and what must hold afterwards."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import kinds


@dataclass(frozen=True, slots=True)
class Kind:
    """Faults of one kind.

    Attributes:
        title: what happens, as a row of the table shows it.
        survives: what must hold afterwards.
        inject: (number from 0, empty folder) -> None; raises where the fault was not survived. The number decides all
            that is random about it.
        all: how many of them the whole suite injects.
        sample: how many of those `make test` injects, spread over all.
    """

    title: str
    survives: str
    inject: Callable[[int, Path], None]
    all: int
    sample: int


def kinds_of_faults() -> dict[str, Kind]:
    """Every kind by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(kinds.__path__))
    return {name: importlib.import_module(f"tests.faults.kinds.{name}").KIND for name in names}
