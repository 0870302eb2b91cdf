"""What goes wrong for a user when a shipped recipe runs, and its student has learnt nothing."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.training.toys import QUIET

EPOCHS = {
    "average": 2, "weighted": 2, "ensemble": 2, "routed": 2,
    "mutual": 3, "born_again": 3, "assistant": 3, "self": 2, "ema": 2, "data_free": 2,
}  # fmt: skip
CHANGES = {"data_free": ["method.steps_per_epoch=40"], "weighted": ["teacher.weights=[3, 1]"]}
SHIPPED_AS = {"weighted": "average"}


def shortened(value: Any, epochs: int) -> Any:
    """The same plan with fewer epochs for every model that it trains."""
    if isinstance(value, list):
        return [shortened(entry, epochs) for entry in value]
    if not isinstance(value, dict):
        return value
    short = {name: shortened(entry, epochs) for name, entry in value.items()}
    return {**short, "max_epochs": epochs, "trainer": QUIET} if "max_epochs" in short else short


@pytest.mark.slow
@pytest.mark.parametrize("name", EPOCHS)
def test_the_student_of_a_shortened_recipe_beats_chance_clearly(name: str, tmp_path: Path) -> None:
    """Otherwise the recipe runs to its end, and what it teaches is noise: chance is 0.1 on ten digits."""
    recipe = read_recipe(f"digits_{SHIPPED_AS.get(name, name)}", CHANGES.get(name, []))
    short = {entry.name: shortened(getattr(recipe, entry.name), EPOCHS[name]) for entry in fields(Recipe)}
    run = run_recipe(Recipe(**short), directory=tmp_path / "run")
    assert run.scores["test"] >= 0.3
