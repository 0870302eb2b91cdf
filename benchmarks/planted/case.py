"""One training that has not begun, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.doctor import Diagnosis, diagnose

Make = Callable[[Path], dict[str, Any]]
"""(an empty folder) -> the arguments of `diagnose`."""


@dataclass(frozen=True, slots=True)
class Case:
    """A training.

    Attributes:
        name: of the case.
        make: gives the arguments of `diagnose`, made anew.
        check: which check must name the fault; empty for a healthy training.
        least: "warning", or "note" for what harms only under circumstances that the case has not.
    """

    name: str
    make: Make
    check: str = ""
    least: str = "warning"

    def examine(self, folder: Path, quick: bool = False) -> Diagnosis:
        """Diagnose it."""
        return diagnose(**self.made(folder), quick=quick)

    def made(self, folder: Path) -> dict[str, Any]:
        """The arguments of `diagnose`, always the same."""
        torch.manual_seed(0)
        return self.make(folder)

    def is_named(self, diagnosis: Diagnosis) -> bool:
        """Whether the planted fault is among the findings, as severe as it should be."""
        return any(self.least == "note" or finding.severity != "note" for finding in diagnosis.named(self.check))
