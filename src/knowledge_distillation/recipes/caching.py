"""The cache section of a recipe: the teacher is asked once, and the student learns from what it said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from knowledge_distillation.domains.data import Data
from knowledge_distillation.errors import CacheError, ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.teachers import CachedTeacher, Teacher, write_cache
from knowledge_distillation.teachers.cache.shards import write_whole
from knowledge_distillation.teachers.cache.writing import Progress
from knowledge_distillation.untrusted import text_of

TEACHER = "teacher.json"
"""What the recipe said of a teacher that it trained, beside the cache of its answers."""
ENGINE_KEYS = ("accelerator", "devices", "strategy", "num_nodes", "precision")


def cache_directory(recipe: Recipe) -> Path:
    """Where the recipe's cache lies; a teacher that the recipe trains lies in it too."""
    if recipe.cache is None:
        raise ConfigError("The recipe has no cache section. Add one: `cache: {directory: teacher-cache}`.")
    return Path(recipe.cache["directory"])


def adapter_of(recipe: Recipe, data: Data) -> Any:
    """How the recipe's models are called: as it says, else as its data says."""
    return recipe.training.get("adapter", data.adapter)


def write_recipe_cache(
    recipe: Recipe, teacher: Teacher | nn.Module, data: Data, progress: Progress | None = None
) -> dict[str, Any]:
    """Write the recipe's cache, or what is missing of it; arguments and errors as of `write_cache`."""
    _check_same_teacher(recipe)
    settings = {"signals": as_objective(recipe.objective).wanted("teacher"), **(recipe.cache or {})}
    settings.pop("check_inputs", None)
    training = {**recipe.training, **(recipe.training.get("trainer") or {})}
    return write_cache(
        teacher,
        data.train,
        **{**settings, "directory": cache_directory(recipe)},
        adapter=adapter_of(recipe, data),
        temperature=training.get("temperature", 1.0),
        engine={key: training[key] for key in ENGINE_KEYS if key in training},
        progress=progress,
    )


def cached(recipe: Recipe, teacher: Teacher | nn.Module, data: Data) -> CachedTeacher:
    """The recipe's teacher, read from its cache, which is written first where it is not there."""
    if recipe.method is not None and recipe.method["name"] != "distill":
        raise ConfigError(
            f"A cache holds one teacher's answers, and the method {recipe.method['name']!r} asks other teachers or "
            "other data. Leave the cache section out."
        )
    manifest = write_recipe_cache(recipe, teacher, data)
    check_inputs = (recipe.cache or {}).get("check_inputs", True)
    return CachedTeacher(cache_directory(recipe), teacher=manifest["teacher"], check_inputs=check_inputs)


def _check_same_teacher(recipe: Recipe) -> None:
    """Raise CacheError if a teacher that was trained for this cache is described in another way now.

    It was found in the cache's directory and not trained again, so that its fingerprint is still the cache's.
    """
    if not _is_trained(recipe.teacher or {}):
        return
    home = cache_directory(recipe)
    noted, now = home / TEACHER, json.dumps(recipe.teacher, sort_keys=True, default=str)
    if noted.exists():
        try:
            was = text_of(noted)
        except (OSError, ValueError) as error:
            raise CacheError(f"{noted} cannot be read: {error}. Choose another cache.directory.") from error
        if was != now:
            raise CacheError(
                f"The teacher that lies with the cache {home} was trained from the section {was}, and the recipe says "
                f"{now}: the student would learn from the earlier one. Choose another cache.directory, or put the "
                "section back."
            )
    elif getattr(rank_zero_only, "rank", 0) == 0:
        write_whole(noted, now)


def _is_trained(teacher: Mapping[str, Any]) -> bool:
    """Whether the recipe trains it, or one of its members."""
    return "train" in teacher or any(_is_trained(member) for member in teacher.get("members") or ())
