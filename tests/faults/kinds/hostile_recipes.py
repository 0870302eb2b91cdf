"""Recipes that do more than describe a run: `kd train` refuses each."""

from __future__ import annotations

from pathlib import Path

from tests.faults.attacks import on_recipes
from tests.faults.attacks.judging import judge
from tests.faults.kind import Kind


def inject(number: int, folder: Path) -> None:
    judge(on_recipes.__name__, number, folder, folder)


KIND = Kind(
    title="a recipe of a stranger with tags, aliases, bombs, or names of code",
    survives="`kd train` ends with exit code 1 or 2 and a message; no code is run, nothing imported, no process begun",
    inject=inject,
    all=len(on_recipes.ATTACKS),
    sample=4,
)
