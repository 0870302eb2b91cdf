"""The cache section of a recipe: the teacher is asked once, and the student learns from what it said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.teachers import CachedTeacher, Teacher, write_cache
from knowledge_distillation.teachers.cache.writing import Progress

ENGINE_KEYS = ("accelerator", "devices", "strategy", "num_nodes", "precision")


def cache_directory(recipe: Recipe) -> Path:
    """Where the recipe's cache lies; a teacher that the recipe trains lies in it too."""
    if recipe.cache is None:
        raise ConfigError("The recipe has no cache section. Add one: `cache: {directory: teacher-cache}`.")
    return Path(recipe.cache["directory"])


def write_recipe_cache(
    recipe: Recipe, teacher: Teacher | nn.Module, loader: Any, progress: Progress | None = None
) -> dict[str, Any]:
    """Write the recipe's cache, or what is missing of it; arguments and errors as of `write_cache`."""
    settings = {"signals": as_objective(recipe.objective).wanted("teacher"), **(recipe.cache or {})}
    settings.pop("check_inputs", None)
    training = {**recipe.training, **(recipe.training.get("trainer") or {})}
    return write_cache(
        teacher,
        loader,
        **{**settings, "directory": cache_directory(recipe)},
        adapter=training.get("adapter", "auto"),
        temperature=training.get("temperature", 1.0),
        engine={key: training[key] for key in ENGINE_KEYS if key in training},
        progress=progress,
    )


def cached(recipe: Recipe, teacher: Teacher | nn.Module, loader: Any) -> CachedTeacher:
    """The recipe's teacher, read from its cache, which is written first where it is not there."""
    if recipe.method is not None and recipe.method["name"] != "distill":
        raise ConfigError(
            f"A cache holds one teacher's answers, and the method {recipe.method['name']!r} asks other teachers or "
            "other data. Leave the cache section out."
        )
    manifest = write_recipe_cache(recipe, teacher, loader)
    check_inputs = bool((recipe.cache or {}).get("check_inputs", True))
    return CachedTeacher(cache_directory(recipe), teacher=manifest["teacher"], check_inputs=check_inputs)
