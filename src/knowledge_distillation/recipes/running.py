"""Run a recipe: make its models and data by name, train the teacher where it asks for that, distil."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch.nn import Module

from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.caching import cache_directory, write_recipe_cache
from knowledge_distillation.recipes.methods import run_method
from knowledge_distillation.recipes.preparing import any_teacher, begun, prepared
from knowledge_distillation.recipes.reading import Recipe, as_yaml
from knowledge_distillation.run import Run
from knowledge_distillation.teachers.cache.writing import Progress
from knowledge_distillation.training.places import next_free
from knowledge_distillation.training.run_directory import open_directory


def run_recipe(
    recipe: Recipe,
    *,
    directory: str | Path | None = None,
    resume: str | None = None,
    own: Mapping[str, Any] | None = None,
    teachers: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a student as the recipe says.

    Args:
        recipe: from `read_recipe`.
        directory: where to write; wins over the recipe's own.
        resume: "auto" or a checkpoint's path.
        own: the user's models and data sets by name; see `own_names`.
        teachers: where a teacher that the recipe trains is kept and found again, so that several runs share it;
            default: the run's own directory.
        callbacks: Lightning callbacks for the student's training.

    Raises:
        ConfigError: if a name or a setting is wrong.
        CheckpointError: if weights are missing or do not fit.
    """
    extra = own or {}
    home = Path(directory or recipe.training.get("directory") or next_free(Path("runs"), "run-{:03d}"))
    data, student = begun(recipe, extra)
    if not resume:
        open_directory(home, None)
    place, again = (home, resume) if teachers is None else (Path(teachers), "auto")
    job = prepared(recipe, data, student, extra, place, again)
    arguments = {**job.arguments, "directory": home, "resume": resume}
    if callbacks:
        trainer = arguments["trainer"]
        arguments["trainer"] = {**trainer, "callbacks": [*(trainer.get("callbacks") or ()), *callbacks]}
    recipe = job.recipe
    run = run_method(replace(job, arguments=arguments))
    sections = ("description", "method", "teacher", "cache", "student", "data", "objective", "training")
    resolved = {
        name: getattr(recipe, name) for name in sections if name not in ("method", "cache") or getattr(recipe, name)
    }
    if run.module.trainer.is_global_zero:
        (home / "recipe.yaml").write_text(as_yaml(resolved), encoding="utf-8")
    return run


def check_builds(recipe: Recipe, own: Mapping[str, Any] | None = None) -> Data:
    """Make what can be made without training, and throw it away but for the data, which is returned.

    Raises:
        ConfigError: if a name or a setting is wrong.
    """
    with torch.random.fork_rng(devices=[]):
        return begun(recipe, own or {})[0]


def cache_recipe(
    recipe: Recipe, *, own: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Write the teacher cache of a recipe, and train the teacher before where the recipe says so.

    Args:
        recipe: with a teacher and a cache section.
        own: as of `run_recipe`.
        progress: as of `write_cache`.

    Returns:
        The cache's manifest.
    """
    home = cache_directory(recipe)
    data, student = begun(recipe, own or {})
    teacher = any_teacher(recipe, student, data, own or {}, home, None)
    return write_recipe_cache(recipe, teacher, data, progress)


def own_names(file: str | Path) -> dict[str, Any]:
    """Models and data sets from a Python file that the user named: its public functions, classes and imported models.

    The file is run, so it must be the user's own. Nothing is ever run that only a recipe names: of what the file
    imports, models count, and what its `__all__` lists. Else a recipe could call a `shutil.rmtree` that the file needs
    for itself.

    Raises:
        ConfigError: if the file is missing or fails.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"--module {path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(f"kd_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--module {path} must be a Python file ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--module {path} failed: {type(error).__name__}: {error}") from error
    listed = getattr(module, "__all__", ())

    def is_offered(name: str, value: Any) -> bool:
        own = getattr(value, "__module__", None) == spec.name or (isinstance(value, type) and issubclass(value, Module))
        return callable(value) and (name in listed or (own and not name.startswith("_")))

    return {name: value for name, value in vars(module).items() if is_offered(name, value)}
