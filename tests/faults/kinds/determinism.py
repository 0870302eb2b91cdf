"""The same training in another process, with another PYTHONHASHSEED, working directory and number of loader workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.kind import Kind
from tests.faults.training import digest, train
from tests.processes import ROOT
from tests.run.stopping import jittered


def inject(number: int, folder: Path) -> None:
    train(folder / "here", number, train_loader=jittered(number % 3))
    (folder / "elsewhere").mkdir()
    search = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.training", str(folder / "there"), str(number), ""]
    done = subprocess.run(command, cwd=folder / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert digest(folder / "there") == digest(folder / "here")


KIND = Kind(
    title="another process, `PYTHONHASHSEED`, working directory and number of loader workers",
    survives="SHA-256 of weights, optimiser, generators and log equal",
    inject=inject,
    all=10,
    sample=1,
)
