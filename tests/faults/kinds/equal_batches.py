"""One batch, however it is spread over micro-batches and processes, gives one training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.kind import Kind
from tests.ranks import run_ranks
from tests.training import rank_losses

CASES: tuple[dict[str, Any], ...] = (
    {"batch": 8, "accumulate": 4},
    {"batch": 16, "processes": 2},
    {"batch": 4, "accumulate": 4, "processes": 2},
    {"batch": 8, "processes": 2, "accumulate": 2, "optimizer": "sgd_momentum"},
    {"batch": 16, "processes": 2, "objective": "hint"},
    {"batch": 16, "processes": 2, "objective": "relations"},
    {"batch": 16, "processes": 2, "recomputed": True, "objective": "hint"},
    {"batch": 12, "processes": 3},
    {"batch": 12, "processes": 3, "objective": "relations"},
    {"batch": 16, "processes": 2, "sharded": True, "objective": "hint"},
)
TOLERANCE = 1e-6


def inject(number: int, folder: Path) -> None:
    """Train 50 steps in one process on whole batches, and once more as the case says."""
    case = CASES[number]
    count, accumulate = case.get("processes", 1), case.get("accumulate", 1)
    whole = {"batch": case["batch"] * count * accumulate} | {
        name: case[name] for name in ("objective", "optimizer") if name in case
    }
    expected = losses_of(json.dumps(whole), 1, folder / "whole")
    found = losses_of(json.dumps(case), count, folder / "parts")
    worst = max(abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True))
    assert len(found) == rank_losses.STEPS
    assert worst <= TOLERANCE, f"{case}: the losses differ by {worst:.1e}"


def losses_of(settings: str, count: int, folder: Path) -> list[float]:
    """The loss of each optimiser step: the mean over its micro-batches and processes."""
    seen = [each["losses"] for each in run_ranks(Path(rank_losses.__file__), folder, settings, count=count)]
    every = json.loads(settings).get("accumulate", 1)
    means = [sum(values) / count for values in zip(*seen, strict=True)]
    return [sum(means[first : first + every]) / every for first in range(0, len(means), every)]


KIND = Kind(
    title="a batch of 32 as one, as 4 x 8 accumulated, on 2 or 3 processes, recomputed, sharded",
    survives="the losses of 50 steps are equal to 1e-6",
    inject=inject,
    all=len(CASES),
    sample=2,
)
