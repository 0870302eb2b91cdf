"""Files of a stranger that would run code, leave their folder or fill the memory, in every place where one is read."""

from __future__ import annotations

from pathlib import Path

from tests.faults.attacks import on_caches, on_checkpoints, on_exports, on_runs, on_weights
from tests.faults.attacks.judging import judge
from tests.faults.attacks.material import material
from tests.faults.kind import Kind

LISTS = (on_checkpoints, on_weights, on_caches, on_exports, on_runs)
ALL = [(module.__name__, number) for module in LISTS for number in range(len(module.ATTACKS))]


def inject(number: int, folder: Path) -> None:
    module, place = ALL[number]
    judge(module, place, folder, material())


KIND = Kind(
    title="a checkpoint, weights, cache, export or run of a stranger that would run code, leave its folder or fill the "
    "memory",
    survives="refused with an error that names it; no code is run, nothing imported, no process or connection begun, "
    "and no file outside is touched",
    inject=inject,
    all=len(ALL),
    sample=6,
)
