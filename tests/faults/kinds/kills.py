"""kill -9 at a random moment of a training, which is then started again with the same command."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.faults.kind import Kind
from tests.faults.training import PROGRAM, digest
from tests.processes import Child


def inject(number: int, folder: Path) -> None:
    draws = random.Random(number)
    started = time.monotonic()
    assert Child(PROGRAM, folder / "whole", number, "").wait().returncode == 0
    seconds = time.monotonic() - started
    resume = ""
    for _ in range(1 + number % 2):
        child = Child(PROGRAM, folder / "killed", number, resume)
        child.wait_for("begins")
        time.sleep(draws.uniform(0, seconds))
        child.send(signal.SIGKILL)
        assert child.wait().returncode in (-signal.SIGKILL, 0)
        resume = "auto" if (folder / "killed" / "recipe.yaml").exists() else ""
    done = Child(PROGRAM, folder / "killed", number, resume).wait()
    assert done.returncode == 0, done.stderr[-2000:]
    assert digest(folder / "killed") == digest(folder / "whole")


KIND = Kind(
    title="`kill -9` at a random moment of a training",
    survives='`resume="auto"` ends with the same weights, optimiser, generators and log, to the bit',
    inject=inject,
    all=60,
    sample=2,
)
