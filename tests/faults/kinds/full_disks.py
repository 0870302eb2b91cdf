"""The disk is full, or a file may grow no further, after any number of bytes of a checkpoint."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from knowledge_distillation.errors import Terminated
from tests.faults.kind import Kind
from tests.faults.training import BATCHES, train
from tests.processes import run
from tests.run.stopping import StopsAt

LIMIT = """
from tests.faults.training import main
from tests.training.limits import files_of
with files_of({size}):
    main()
"""
FULL = """
import errno, pathlib

class Full:
    def __init__(self, file):
        self.file, self.left = file, {size}
    def write(self, data):
        self.left -= len(memoryview(data).cast("B"))
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()

opened = pathlib.Path.open
pathlib.Path.open = lambda path, mode="r", *a, **k: (
    Full(opened(path, mode, *a, **k)) if mode == "wb+" else opened(path, mode, *a, **k)
)
from tests.faults.training import main
main()
"""


def inject(number: int, folder: Path) -> None:
    with pytest.raises(Terminated):
        train(folder / "run", number, trainer={"callbacks": [StopsAt(2 * BATCHES + 1)]})
    last = folder / "run" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    kind, word = ((LIMIT, "File too large"), (FULL, "No space left on device"))[number % 2]
    size = random.Random(number).randrange(len(before) - 200)
    done = run(kind.format(size=max(size, 4096)), folder / "run", number, "auto")
    assert done.returncode == 1
    message = done.stderr.replace("\n", " ")
    expected = ("CheckpointError", f"{folder / 'run' / 'checkpoints'}", word, "bytes are needed")
    assert [part for part in expected if part not in message] == [], message[-2000:]
    assert last.read_bytes() == before


KIND = Kind(
    title="the disk is full, or a file-size limit is reached, after any number of bytes",
    survives="one error with path and bytes; the earlier checkpoint is as it was",
    inject=inject,
    all=20,
    sample=2,
)
