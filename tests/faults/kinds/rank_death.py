"""SIGKILL of one of the processes that train together."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from tests.faults.kind import Kind
from tests.faults.training import digest
from tests.run.rank_run import start

BATCHES = 16
FIRST_CHECKPOINT = 4
SECONDS = 30.0


def inject(number: int, folder: Path) -> None:
    """Kill one of two or three processes at a random batch; then go on with all of them."""
    drawn = random.Random(number)
    processes = 2 + number % 2
    start(folder / "whole", processes).succeed()
    ranks = start(folder / "run", processes)
    victim = drawn.randrange(processes)
    ranks.children[victim].wait_for(f"batch {drawn.randint(FIRST_CHECKPOINT + 1, BATCHES)}.")
    ranks.children[victim].send(signal.SIGKILL)
    codes = [child.wait(SECONDS).returncode for child in ranks.children]  # fails for one that takes longer
    assert codes[victim] == -signal.SIGKILL, codes
    assert 0 not in codes, codes
    start(folder / "run", processes, resume="auto").succeed()
    assert digest(folder / "run") == digest(folder / "whole")


KIND = Kind(
    title="SIGKILL of one of several processes",
    survives="the others end with an error within 30 seconds; the run goes on exactly",
    inject=inject,
    all=10,
    sample=1,
)
