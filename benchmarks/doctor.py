"""How many planted faults the doctor names, and how many healthy trainings it says something wrong about.

Every fault is planted in a training that is healthy without it, as a user would make the mistake. It counts as named
where the check for that very fault reports it; other findings beside it are counted apart. A false alarm is any warning
or error about a healthy training, shipped recipes among them. The quick form is measured on the same trainings.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.planted import FAULTS, HEALTHY, SHIPPED
from benchmarks.planted.case import Case
from benchmarks.report import progress
from knowledge_distillation.doctor import CHECKS, Diagnosis

QUICK = {check.name for check in CHECKS if check.quick}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help="cases whose name contains this")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    started = time.monotonic()
    faults = [case for case in FAULTS if arguments.only in case.name]
    healthy = [case for case in (*HEALTHY, *SHIPPED) if arguments.only in case.name]
    full, quick = measured(faults, healthy, quick=False), measured(faults, healthy, quick=True)
    return {
        **full,
        "healthy": len(healthy),
        "shipped_recipes": sum(case in SHIPPED for case in healthy),
        "checks": len(CHECKS),
        "checks_with_a_planted_fault": len({case.check for case in faults}),
        "quick": quick,
        "seconds": round(time.monotonic() - started, 1),
        "figure": "planted faults that the check for them names at least as a warning (a note where the fault harms "
        "only under circumstances that the case has not), and healthy trainings with any warning or error",
    }


def measured(faults: Sequence[Case], healthy: Sequence[Case], *, quick: bool) -> dict[str, Any]:
    """What one form of the examination finds; its quick form is asked only for what its checks look for."""
    asked = [case for case in faults if not quick or case.check in QUICK]
    missed, beside, alarms, seconds = [], 0, [], []
    for case in asked:
        diagnosis = examined(case, quick)
        seconds.append(diagnosis.seconds)
        beside += sum(finding.check != case.check for finding in grave(diagnosis))
        if not case.is_named(diagnosis):
            missed.append(case.name)
            progress(f"missed: {case.name} ({case.check}): {diagnosis}")
    for case in healthy:
        diagnosis = examined(case, quick)
        seconds.append(diagnosis.seconds)
        if grave(diagnosis):
            alarms.append(case.name)
            progress(f"false alarm: {case.name}: {[str(finding) for finding in grave(diagnosis)]}")
    return {
        "planted": len(asked),
        "named": len(asked) - len(missed),
        "named_share": round(1 - len(missed) / max(1, len(asked)), 4),
        "false_alarms": len(alarms),
        "missed": missed,
        "alarmed": alarms,
        "findings_beside_the_planted": beside,
        "median_seconds": round(statistics.median(seconds), 3) if seconds else 0.0,
        "longest_seconds": round(max(seconds, default=0.0), 3),
    }


def examined(case: Case, quick: bool) -> Diagnosis:
    with tempfile.TemporaryDirectory() as folder:
        return case.examine(Path(folder), quick)


def grave(diagnosis: Diagnosis) -> list[Any]:
    return [finding for finding in diagnosis.findings if finding.severity != "note"]
