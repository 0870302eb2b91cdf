"""The trials of a comparison that is not finished: kept as they end, so that one that breaks off goes on later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.evaluation.arms import CONTROL, DISTILLED, Trial
from knowledge_distillation.training.durable_files import whole

Key = tuple[int, str, int | None]
"""Seed, arm, and optimiser steps where they were asked for; as of `arms.Train`."""


@dataclass(slots=True)
class UnfinishedTrials:
    """Trials on disk, those of one comparison and no other.

    Attributes:
        path: the file.
        of: what they belong to, plain data. Trials of anything else are not taken, and are gone with the first new one.
    """

    path: Path
    of: Mapping[str, Any]
    _made: dict[Key, tuple[Trial, str]] = field(default_factory=dict)

    def read(self) -> None:
        """Take up what an earlier comparison left there.

        Times are comparable only within a pair that was trained in one go: the half of a pair loses its own.

        Raises:
            CheckpointError: if the file cannot be read.
        """
        if not self.path.exists():
            return
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["of"] != json.loads(json.dumps(self.of)):
                return
            for row in kept["trials"]:
                lists = {name: tuple(row["trial"][name]) for name in ("seen", "weights")}
                self._made[row["seed"], row["arm"], row["steps"]] = (Trial(**{**row["trial"], **lists}), row["drawn"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path} must hold the trainings of a comparison that broke off, and cannot be read "
                f"({type(error).__name__}: {error}). Delete it, and the comparison begins anew."
            ) from error
        for (seed, arm, steps), (trial, drawn) in self._made.items():
            if not all((seed, other, None) in self._made for other in (CONTROL, DISTILLED)):
                self._made[seed, arm, steps] = (replace(trial, seconds=None), drawn)

    def get(self, key: Key) -> tuple[Trial, str] | None:
        """The trial and what stands for the random numbers it drew; None if it was not made."""
        return self._made.get(key)

    def add(self, key: Key, trial: Trial, drawn: str) -> None:
        """Keep a trial that has just ended."""
        self._made[key] = (trial, drawn)

    def write(self) -> None:
        """Write them all; a file that is there is replaced whole."""
        rows = [
            {"seed": seed, "arm": arm, "steps": steps, "trial": asdict(trial), "drawn": drawn}
            for (seed, arm, steps), (trial, drawn) in self._made.items()
        ]
        with whole(self.path) as file:
            file.write_text(json.dumps({"of": self.of, "trials": rows}), encoding="utf-8")
