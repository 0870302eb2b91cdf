"""What goes wrong for a user when a recipe that comes with the package does not run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model

from knowledge_distillation.domains.catalogue import build_model, models
from knowledge_distillation.domains.vision import digits
from knowledge_distillation.recipes.reading import Recipe, read_recipe, shipped
from knowledge_distillation.recipes.running import run_recipe
from tests.training.toys import QUIET

ON_DIGITS = [name for name in shipped() if name.startswith("digits")]


def shortened(value: Any) -> Any:
    """The same plan with one epoch of two batches for every model that it trains."""
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    short = {name: shortened(entry) for name, entry in value.items()}
    if "max_epochs" in short:
        short |= {"max_epochs": 1, "trainer": {**QUIET, "limit_train_batches": 2}}
    if "steps_per_epoch" in short:
        short["steps_per_epoch"] = 2
    return short


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_DIGITS)
def test_every_digits_recipe_runs_to_a_student_that_scores_as_reported(name: str, tmp_path: Path) -> None:
    """Otherwise the first recipe that a user tries fails, or reports the score of another model."""
    recipe = read_recipe(name)
    short = Recipe(**{entry.name: shortened(getattr(recipe, entry.name)) for entry in fields(Recipe)})
    run = run_recipe(short, directory=tmp_path / "run")
    student = build_model(
        short.student["name"], digits().facts, {k: v for k, v in short.student.items() if k != "name"}, {}
    )
    load_model(student, str(run.directory / "student.safetensors"))
    images, labels = digits().validation["test"].dataset.tensors
    with torch.no_grad():
        output = student.eval()(images)
    logits = output["logits"] if isinstance(output, dict) else output
    assert run.scores["test"] == pytest.approx(float((logits.argmax(-1) == labels).float().mean()), abs=1e-6)


def test_there_are_digits_recipes_of_known_students() -> None:
    """Otherwise the tests above may look at no recipe at all."""
    assert len(ON_DIGITS) >= 1
    assert {read_recipe(name).student["name"] for name in ON_DIGITS} <= set(models())
