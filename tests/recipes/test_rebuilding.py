"""What goes wrong for a user when a run's directory gives back another student than was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_model
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.recipes.rebuilding import rebuilt, rebuilt_run
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


def test_a_setting_of_the_data_called_train_is_kept(tmp_path: Path) -> None:
    """Otherwise a report reads other files than the run, or finds none."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    seen = []

    def parts(train: str = "all") -> Any:
        seen.append(train)
        return own["points"]()

    own["parts"] = parts
    run_recipe(replace(recipe(), data={"name": "parts", "train": "some"}), directory=tmp_path / "run", own=own)
    rebuilt(tmp_path / "run", own)
    assert set(seen) == {"some"}


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


@pytest.mark.parametrize("where", ["run", "cache"])
def test_the_teacher_that_taught_comes_back(where: str, tmp_path: Path) -> None:
    """Otherwise the report measures an untrained teacher, and the student looks better than it is."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    teacher = {"name": "net", "hidden": 8, "train": {"max_epochs": 1, "trainer": QUIET}}
    cache = {"directory": str(tmp_path / "cache")} if where == "cache" else None
    run_recipe(recipe(teacher=teacher, cache=cache), directory=tmp_path / "run", own=own)
    before = torch.get_rng_state()
    found = rebuilt_run(tmp_path / "run", own)
    assert torch.equal(before, torch.get_rng_state())
    assert found.notes == ()
    stored = load_file(tmp_path / where / "teacher" / "student.safetensors")
    assert isinstance(found.teacher, nn.Module)
    assert not found.teacher.training
    assert {name: tensor.tolist() for name, tensor in found.teacher.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in stored.items()
    }


def test_an_ensemble_comes_back_with_every_member(tmp_path: Path) -> None:
    """Otherwise a report holds the student against one of several teachers."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    member = {"name": "net", "train": {"max_epochs": 1, "trainer": QUIET}}
    teacher = {"name": "ensemble", "members": [member, {**member, "hidden": 6}]}
    teacher = json.loads(json.dumps(teacher))  # nothing is shared, as in a file
    run = run_recipe(recipe(teacher=teacher), directory=tmp_path / "run", own=own)
    found = rebuilt_run(tmp_path / "run", own)
    assert isinstance(found.teacher, kd.teachers.EnsembleTeacher)
    batch = next(iter(found.data.validation["test"]))
    taught = run.module.teacher
    assert taught is not None
    torch.testing.assert_close(
        found.teacher.signals(batch, ("logits",)).logits, taught.signals(batch, ("logits",)).logits
    )


@pytest.mark.parametrize(
    ("teacher", "why"),
    [
        ({"name": "ema"}, "it followed the student"),
        ({"name": "net", "hidden": 8}, "had no weights"),
        (
            {"name": "net", "weights": "elsewhere.safetensors"},
            "elsewhere.safetensors must hold the weights of the teach",
        ),
    ],
)
def test_a_teacher_that_cannot_come_back_is_said_to(teacher: dict[str, Any], why: str, tmp_path: Path) -> None:
    """Otherwise the teacher's column is missing, and nobody knows why."""
    (tmp_path / "mine.py").write_text(MODULE)
    own = own_names(tmp_path / "mine.py")
    run_recipe(recipe(teacher={"name": "net"}), directory=tmp_path / "run", own=own)
    file = tmp_path / "run" / "recipe.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "teacher": teacher}))
    found = rebuilt_run(tmp_path / "run", own)
    assert found.teacher is None
    assert why in found.notes[0]
