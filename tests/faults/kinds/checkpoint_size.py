"""The size of a checkpoint, and who must be there to read it."""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

import knowledge_distillation as kd
from tests.faults.kind import Kind
from tests.faults.place import quiet_place
from tests.processes import run
from tests.training.toys import CLASSES, FEATURES, loader

WIDTHS = ((4,), (64, 64), (512, 512), (1024, 1024, 1024))
"""Hidden layers of the students: from 50 to 2 million parameters."""
STUDENTS = [(widths, norm) for widths in WIDTHS for norm in (False, True)]
TEACHER = """
from torch import nn

class Gone(nn.Sequential):
    pass
"""
READS = """
import sys
from knowledge_distillation.training.durable_files import read_checkpoint

assert "gone" not in sys.modules
state = read_checkpoint(sys.argv[1])["state_dict"]
print(len(state), sum(entry.numel() for entry in state.values()))
"""


def inject(number: int, folder: Path) -> None:
    """One student, trained with Adam by a teacher whose class is gone afterwards."""
    widths, norm = STUDENTS[number]
    student = network(widths, norm)
    with quiet_place(folder / "place"):
        trained = kd.distill(
            teacher_of_a_file(folder / "gone.py"), student, loader(8), optimizer="adam", directory=folder / "run",
            max_epochs=2, doctor=False, trainer={"enable_progress_bar": False, "accelerator": "cpu"},
        )  # fmt: skip
    size = sum(entry.numel() * entry.element_size() for entry in student.state_dict().values())
    saved = sorted((trained.directory / "checkpoints").glob("*.ckpt"))
    assert len(saved) == 3
    for path in saved:
        assert path.stat().st_size <= 3.05 * size + 64 * 1024, (path.stat().st_size, size)
    (folder / "gone.py").unlink()
    done = run(READS, saved[-1], directory=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    state = student.state_dict()
    assert done.stdout.split() == [str(len(state)), str(sum(entry.numel() for entry in state.values()))]


def network(widths: tuple[int, ...], norm: bool) -> nn.Module:
    """A student with these hidden layers."""
    sizes = (FEATURES, *widths)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], CLASSES))


def teacher_of_a_file(path: Path) -> Any:
    """A teacher of a class that only this file has."""
    path.write_text(TEACHER)
    spec: Any = importlib.util.spec_from_file_location("gone", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gone"] = module
    try:
        spec.loader.exec_module(module)
        return module.Gone(nn.Linear(FEATURES, 2048), nn.ReLU(), nn.Linear(2048, CLASSES))
    finally:
        del sys.modules["gone"]


KIND = Kind(
    title="a checkpoint with Adam's state, of students from 50 to 2 million parameters; the teacher's class is gone",
    survives="at most 3.05 times the student's bytes and 64 KB; it is read where the teacher cannot be imported",
    inject=inject,
    all=len(STUDENTS),
    sample=2,
)
