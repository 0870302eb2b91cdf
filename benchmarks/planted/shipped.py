"""The recipes that come with the package, with teachers trained as they say: nothing is wrong with them."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.planted.case import Case
from knowledge_distillation.domains.vision.data import FASHION_FOLDERS
from knowledge_distillation.recipes.examining import to_examine
from knowledge_distillation.recipes.reading import read_recipe, shipped

SHORTENED = {
    "fashion_mnist": ("data.limit=4000", "teacher.train.max_epochs=4"),
    "fashion_mnist_small": ("data.limit=4000", "teacher.train.max_epochs=4"),
}
"""So that their teachers take seconds."""


@cache
def prepared(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        return to_examine(read_recipe(name, SHORTENED.get(name, ())), Path(home))


def _needs_files(name: str) -> bool:
    """Whether its data or models are the user's own, a hub's, or downloaded."""
    recipe = read_recipe(name)
    sections = [section or {} for section in (recipe.data, recipe.teacher, recipe.student)]
    return any("path" in section or "download" in section for section in sections)


def _make(name: str, folder: Path) -> dict[str, Any]:
    return prepared(name)


SHIPPED = tuple(
    Case(f"recipe {name}", partial(_make, name))
    for name in shipped()
    if not _needs_files(name) and (name not in SHORTENED or any(folder.is_dir() for folder in FASHION_FOLDERS))
)
