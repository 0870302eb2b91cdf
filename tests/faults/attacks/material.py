"""A run, a cache and exports that attacks copy and spoil; made once a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from knowledge_distillation.export import export
from knowledge_distillation.recipes.running import own_names, run_recipe
from tests.export import students
from tests.recipes.test_running import MODULE, recipe
from tests.teachers.cache.samples import small_cache
from tests.training.toys import mlp


@functools.cache
def material() -> Path:
    """A folder with mine.py, run/, cache/ and exports/FORM/."""
    home = Path(tempfile.mkdtemp(prefix="kd-material-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "mine.py").write_text(MODULE)
    run_recipe(recipe(), directory=home / "run", own=own_names(home / "mine.py"))
    small_cache(home / "cache", mlp())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in ("safetensors", "onnx", "torch_export"):
            export(students.mlp(), form, home / "exports" / form, example=students.points())
    return home


def copied(name: str, place: Path, home: Path) -> Path:
    """A copy of one part of it in a place of its own."""
    return Path(shutil.copytree(home / name, place, dirs_exist_ok=True))


def spoilt(path: Path, change: Callable[[str], str]) -> None:
    """A text file with a change."""
    path.write_text(change(path.read_text()))
