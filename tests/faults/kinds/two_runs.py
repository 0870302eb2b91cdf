"""A second training is started in the directory of a running one, which is then killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.faults.kind import Kind
from tests.faults.training import PROGRAM, digest, train
from tests.processes import Child, run


def inject(number: int, folder: Path) -> None:
    train(folder / "whole", number)
    first = Child(PROGRAM, folder / "run", number, "")
    while not (folder / "run" / "metrics.csv").exists():
        assert first.is_alive
        time.sleep(0.001)
    first.send(signal.SIGSTOP)  # it holds the directory for as long as the second one looks
    second = run(PROGRAM, folder / "run", number, "auto")
    assert second.returncode == 1
    assert f"Another training writes to {folder / 'run'} (process {first.pid} on" in second.stderr
    first.send(signal.SIGCONT)
    time.sleep(random.Random(number).random() * 0.5)
    first.send(signal.SIGKILL)
    first.wait()
    assert run(PROGRAM, folder / "run", number, "auto").returncode == 0
    assert digest(folder / "run") == digest(folder / "whole")


KIND = Kind(
    title="a second training in the directory of a running one, which is then killed",
    survives="the second is refused by name of the first; a killed one leaves no lock, and its run goes on exactly",
    inject=inject,
    all=10,
    sample=1,
)
