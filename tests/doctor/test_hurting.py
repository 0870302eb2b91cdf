"""The teacher that hurts: named before the training, and found guilty by the control arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowledge_distillation.doctor import diagnose
from knowledge_distillation.recipes.examining import to_examine
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import own_names
from knowledge_distillation.run import distill
from tests.training.workplace import workplace

EXAMPLE = Path(__file__).parents[2] / "examples" / "unlike_inputs.yaml"
SHORTER = ("teacher.train.max_epochs=6", "training.max_epochs=3", "student.hidden=16")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}

__all__ = ["workplace"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
def test_it_is_named_before_and_convicted_after(workplace: Path) -> None:
    """Otherwise a good teacher that sees other inputs than its own makes every student worse, and nobody knows."""
    recipe = read_recipe(EXAMPLE, [*SHORTER, "teacher.train.trainer={enable_progress_bar: false}"])
    asked = to_examine(recipe, workplace / "kept", own_names(EXAMPLE.with_suffix(".py")))

    (finding,) = diagnose(**asked, checks=["teacher_inputs"]).findings
    assert "stretched to 0..1" in finding.fault  # which undoes the normalisation, and is what was done wrong

    plan = {**asked, "trainer": QUIET, "directory": workplace / "run"}
    found = distill(**plan).compare(seeds=2, equal="steps")
    assert found.verdict == "hurt", found.sentence
    assert found.difference < -0.05
