"""What goes wrong for a user when a run's directory gives back another student than was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_model
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.recipes.rebuilding import rebuilt
from knowledge_distillation.recipes.running import own_names, run_recipe
from tests.recipes.test_running import MODULE, recipe
from tests.training.toys import QUIET, loader, mlp


def test_a_rebuilt_student_answers_as_the_trained_one(tmp_path: Path) -> None:
    """Otherwise what is exported from a directory is not the student whose score stands in it."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    run = run_recipe(recipe(), directory=tmp_path / "run", own=own)
    before = torch.get_rng_state()
    student, data, read = rebuilt(tmp_path / "run", own)
    assert torch.equal(before, torch.get_rng_state())
    assert not student.training
    assert read.student["name"] == "net"
    inputs, _ = next(iter(data.validation["test"]))
    with torch.no_grad():
        torch.testing.assert_close(student(inputs), run.student.eval()(inputs))


def test_a_run_of_pythons_distill_says_how_to_export_it(tmp_path: Path) -> None:
    """Otherwise its user reads that a section is missing in a file that they never wrote."""
    kd.distill(mlp(9), mlp(1), loader(), max_epochs=1, directory=tmp_path / "run", trainer=QUIET)
    with pytest.raises(ConfigError, match=r"made by kd\.distill in Python.*run\.export"):
        rebuilt(tmp_path / "run")


def test_a_directory_that_is_no_run_is_named(tmp_path: Path) -> None:
    """Otherwise a mistyped path ends in a traceback."""
    with pytest.raises(ConfigError, match=r"no recipe\.yaml"):
        rebuilt(tmp_path)


def test_weights_of_another_student_are_refused(tmp_path: Path) -> None:
    """Otherwise random weights would be exported where the recipe was edited after training."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({"student": {"name": "net", "hidden": 7}, "data": {"name": "points"}})
    )
    with pytest.raises(CheckpointError, match=r"student\.safetensors"):
        rebuilt(tmp_path, own)
    save_model(nn.Linear(2, 2), str(tmp_path / "student.safetensors"))
    with pytest.raises(CheckpointError, match="must hold the weights of the student 'net'"):
        rebuilt(tmp_path, own)
