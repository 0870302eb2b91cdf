"""A recipe's student as it computes in eight bits, while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export.qat import quantisation_aware
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.recipes.settings import check_settings

KEY = "quantisation_aware"


def check_quantised(recipe: Recipe) -> None:
    """Raise ConfigError unless `training.quantisation_aware` is true, false, or settings of `quantisation_aware`."""
    asked = recipe.training.get(KEY, False)
    if isinstance(asked, bool):
        settings: Mapping[str, Any] = {}
    elif isinstance(asked, Mapping):
        settings = asked
    else:
        raise ConfigError(f"training.{KEY} must be true, or a mapping with 'bits' and 'input_bits'; got {asked!r}.")
    check_settings("training", KEY, quantisation_aware, settings, "student")
    if asked is False:
        return
    teacher = (recipe.teacher or {}).get("name")
    if teacher in ("ema", "self"):
        raise ConfigError(
            f"training.{KEY} needs a teacher of full precision, and {teacher!r} is the student itself. "
            "Name the student's weights before it rounded as the teacher's."
        )
    if recipe.method is not None:
        raise ConfigError(
            f"training.{KEY} teaches the one student of a recipe, and the method {recipe.method['name']!r} makes "
            "several. Leave one of them out: distil first, then teach the result from its weights."
        )


def quantised(student: nn.Module, recipe: Recipe) -> nn.Module:
    """The student, or where the recipe asks for it a copy that rounds as int8 does."""
    asked = recipe.training.get(KEY, False)
    if asked is False:
        return student
    return quantisation_aware(student, **({} if asked is True else asked))
