"""kill -9 while a checkpoint is being written."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from knowledge_distillation.training.durable_files import read_checkpoint
from tests.faults.kind import Kind
from tests.processes import Child

SAVES = """
import sys, torch
from pathlib import Path
from knowledge_distillation.training.durable_files import write_checkpoint
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    write_checkpoint({"number": number, "state_dict": {"w": torch.full((200_000,), float(number))}}, path)
    print(number, flush=True)
"""


def inject(number: int, folder: Path) -> None:
    path = folder / "last.ckpt"
    child = Child(SAVES, path)
    child.wait_for("\n")
    time.sleep(random.Random(number).random() * 0.1)
    child.send(signal.SIGKILL)
    told = int(child.wait().stdout.split()[-1])
    found = read_checkpoint(path)
    assert found["number"] in (told, told + 1)
    assert bool((found["state_dict"]["w"] == found["number"]).all())


KIND = Kind(
    title="`kill -9` while a checkpoint is written",
    survives="the file is the earlier checkpoint or the new one, whole",
    inject=inject,
    all=200,
    sample=4,
)
