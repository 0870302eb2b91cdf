"""How long the command's help and the imports take, each in a process of its own; the minimum of rounds."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.report import progress

TIMED = "import time; s = time.perf_counter(); {body}; print(time.perf_counter() - s)"
BODIES = {
    "import_seconds": "import knowledge_distillation",
    "torch_seconds": "import torch",
    "losses_seconds": "import torch, knowledge_distillation.losses",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)


def help_seconds() -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", "from knowledge_distillation.cli import main; main(['--help'])"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def import_seconds(body: str) -> float:
    command = [sys.executable, "-c", TIMED.format(body=body)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    times: dict[str, list[float]] = {"help_seconds": [], **{name: [] for name in BODIES}}
    help_seconds()
    for name in BODIES:
        import_seconds(BODIES[name])
    for number in range(arguments.rounds):
        times["help_seconds"].append(help_seconds())
        for name, body in BODIES.items():
            times[name].append(import_seconds(body))
        progress(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.3f}" for name, values in times.items()))
    least = {name: round(min(values), 4) for name, values in times.items()}
    return {
        **least,
        "losses_over_torch_seconds": round(least["losses_seconds"] - least["torch_seconds"], 4),
        "medians": {name: round(statistics.median(values), 4) for name, values in times.items()},
        "rounds": arguments.rounds,
        "figure": "minimum of rounds",
    }
