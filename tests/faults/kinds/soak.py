"""A long training: many steps, validations and checkpoints in one process."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from tests.faults.kind import Kind
from tests.processes import run
from tests.run.test_distill import train
from tests.training.toys import loader

PROGRAM = "import sys; from tests.faults.kinds.soak import soak; soak(sys.argv[1], int(sys.argv[2]))"
STEPS_AN_EPOCH = 200


class Looks(Callback):
    """Resident bytes, open files and threads at the end of every epoch but the first, which warms up."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        self.seen.append((pages * os.sysconf("SC_PAGE_SIZE"), files, threading.active_count()))


def soak(directory: str, epochs: int) -> None:
    looks = Looks()
    data = loader(8 * STEPS_AN_EPOCH, shuffle=True)
    train(Path(directory), train_loader=data, max_epochs=epochs, checkpoint_every=100, trainer={"callbacks": [looks]})
    warm = looks.seen[max(1, epochs // 5) :]
    grown = max(entry[0] for entry in warm) / warm[0][0] - 1
    assert grown <= 0.02, f"memory grew by {grown:.1%}: {[entry[0] for entry in warm]}"
    assert len({entry[1] for entry in warm}) == 1, f"open files: {[entry[1] for entry in warm]}"
    assert len({entry[2] for entry in warm}) == 1, f"threads: {[entry[2] for entry in warm]}"
    files = [path.name for path in (Path(directory) / "checkpoints").iterdir()]
    assert len(files) <= 4, files


def inject(number: int, folder: Path) -> None:
    done = run(PROGRAM, folder / "run", 10 if number == 0 else 100)
    assert done.returncode == 0, done.stderr[-2000:]


KIND = Kind(
    title="20,000 steps with 100 validations and 300 checkpoints in one process",
    survives="memory grows by at most 2 %; open files and threads stay the same; at most 4 checkpoints are kept",
    inject=inject,
    all=2,
    sample=1,
)
