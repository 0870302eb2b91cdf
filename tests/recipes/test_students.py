"""What goes wrong for a user whose recipe makes the student from its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from knowledge_distillation.cli import main
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import check_recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt, rebuilt_run
from knowledge_distillation.recipes.running import own_names, run_recipe
from knowledge_distillation.teachers import CachedTeacher
from tests.needing import needs
from tests.training.toys import QUIET

MODULE = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from knowledge_distillation.domains.data import Data

def points(*, batch_size=8):
    """Random points."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(24, 8, generator=generator), torch.arange(24) % 3
    train = DataLoader(TensorDataset(inputs, labels), batch_size=batch_size, shuffle=True)
    return Data(train=train, validation={"test": DataLoader(TensorDataset(inputs, labels), 8)}, facts={"classes": 3})

def tower(classes, layers=5):
    """Equal layers, one after the other."""
    stack = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(layers)))
    return nn.Sequential(stack, nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, classes))
'''
TRAINING = {"max_epochs": 1, "trainer": dict(QUIET)}
TEACHER = {"name": "tower", "train": {"max_epochs": 1, "trainer": dict(QUIET)}}


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "mine.py"
    file.write_text(MODULE)
    return own_names(file)


def content(student: Any, **sections: Any) -> dict[str, Any]:
    return {"teacher": TEACHER, "student": student, "data": "points", "training": TRAINING, **sections}


STUDENTS = {
    "kept": {"keep_layers": {"count": 2, "rule": "spread"}},
    "searched": {"search_layers": {"count": 2}},
    "narrow": {"narrow": {"ratio": {"1": 0.5}}},
    "low rank": {"factorise": {"rank": 2}},
    "in turn": {"keep_layers": {"count": 3}, "factorise": {"rank": 1}},
    "sized": {"to_target": {"parameters": 0.5, "ways": ["factorise"]}},
}


@pytest.mark.parametrize("steps", STUDENTS.values(), ids=STUDENTS)
def test_a_run_is_rebuilt_as_it_was_trained(steps: dict[str, Any], tmp_path: Path, own: dict[str, Any]) -> None:
    """Otherwise report and export of such a student fail, or speak of another one."""
    recipe = check_recipe(content({"name": "from_teacher", **steps}), "test")
    run = run_recipe(recipe, directory=tmp_path / "run", own=own)
    assert all(parameter.requires_grad for parameter in run.student.parameters())
    made = rebuilt_run(tmp_path / "run", own)
    inputs, _ = next(iter(made.data.validation["test"]))
    with torch.no_grad():
        torch.testing.assert_close(made.student(inputs), run.student.eval()(inputs))
    count = [sum(p.numel() for p in model.parameters()) for model in (made.student, made.teacher)]
    assert count[0] < count[1]
    assert not made.notes


def test_the_student_begins_with_the_weights_of_the_trained_teacher(tmp_path: Path, own: dict[str, Any]) -> None:
    """Otherwise it is cut out of the teacher before that has learnt. Nothing moves at this learning rate."""
    recipe = check_recipe(
        content(
            {"name": "from_teacher", "keep_layers": {"count": 2, "rule": [1, 4]}},
            training={**TRAINING, "learning_rate": 1e-20},
        ),
        "test",
    )
    run = run_recipe(recipe, directory=tmp_path / "run", own=own)
    theirs = load_file(tmp_path / "run" / "teacher" / "student.safetensors")
    ours = load_file(run.directory / "student.safetensors")
    assert torch.equal(ours["0.1.0.weight"], theirs["0.4.0.weight"])
    assert torch.equal(ours["3.weight"], theirs["3.weight"])


def test_what_was_chosen_stands_in_the_runs_recipe(tmp_path: Path, own: dict[str, Any]) -> None:
    """Otherwise a second look at the data could choose other layers, and the weights would not fit."""
    recipe = check_recipe(content({"name": "from_teacher", "search_layers": {"count": 2}}), "test")
    run_recipe(recipe, directory=tmp_path / "run", own=own)
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["student"]
    assert written.keys() == {"name", "keep_layers"}
    kept = written["keep_layers"]["rule"]
    assert kept == sorted(kept)
    assert len(kept) == written["keep_layers"]["count"] == 2
    assert read_recipe(str(tmp_path / "run" / "recipe.yaml")).student == written


def test_the_control_is_the_same_student(tmp_path: Path, own: dict[str, Any]) -> None:
    """Otherwise the comparison gives the distilled arm a better start."""
    recipe = check_recipe(content({"name": "from_teacher", "keep_layers": {"count": 2}}), "test")
    run = run_recipe(recipe, directory=tmp_path / "run", own=own)
    run.compare(seeds=2, equal="steps")
    control, student = rebuilt_run(tmp_path / "run", own).control, rebuilt(tmp_path / "run", own)[0]
    assert control is not None
    assert [p.shape for p in control.parameters()] == [p.shape for p in student.parameters()]


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ({}, TEACHER, "needs one of keep_layers"),
        ({"keep_layer": {"count": 2}}, TEACHER, "keep_layers"),
        ({"keep_layers": 2}, TEACHER, "must be a mapping"),
        ({"keep_layers": {"cuont": 2}}, TEACHER, "'count'"),
        ({"keep_layers": {"count": 9}}, TEACHER, "from 1 to 5"),
        ({"factorise": {"energy": 0.9}}, TEACHER, "no setting 'energy'"),
        ({"to_target": {"latency_ms": 1}}, TEACHER, "no setting 'latency_ms'"),
        ({"to_target": {"parameters": 0.5}, "narrow": {"ratio": 0.5}}, TEACHER, "does not go with narrow"),
        ({"search_layers": {"count": 2}, "keep_layers": {"count": 2}}, TEACHER, "does not go with keep_layers"),
        ({"search_layers": {"count": 2, "by": "cosin"}}, TEACHER, "no distance 'cosin' between answers"),
        ({"keep_layers": {"count": 2}}, None, "the recipe's teacher is none"),
        ({"keep_layers": {"count": 2}}, {"name": "ema"}, "the recipe's teacher is 'ema'"),
    ],
)
def test_what_cannot_be_made_from_the_teacher_is_refused(
    student: dict[str, Any], teacher: Any, message: str, tmp_path: Path, own: dict[str, Any]
) -> None:
    """Otherwise a typing error is found after the teacher was trained for hours."""
    sections = {} if teacher else {"objective": "labels"}
    recipe = check_recipe({**content({"name": "from_teacher", **student}, **sections), "teacher": teacher}, "test")
    with pytest.raises(ConfigError, match=message):
        run_recipe(recipe, directory=tmp_path / "run", own=own)


def test_a_student_of_a_cached_teacher_is_made_of_the_teacher_itself(tmp_path: Path, own: dict[str, Any]) -> None:
    """Otherwise a recipe with a cache is refused after the teacher was trained: what is cached are its answers."""
    steps = {"name": "from_teacher", "keep_layers": {"count": 2}}
    recipe = check_recipe(content(steps, cache={"directory": str(tmp_path / "cache")}), "test")
    run = run_recipe(recipe, directory=tmp_path / "run", own=own)
    assert isinstance(run.module.teacher, CachedTeacher)
    made = rebuilt_run(tmp_path / "run", own)
    assert made.student.state_dict().keys() == run.student.state_dict().keys()


@needs("vision")
def test_a_recipe_names_a_model_of_another_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise every user of timm writes a module for it."""
    recipe = tmp_path / "mine.yaml"
    student = {"name": "from_config", "library": "timm", "model": "test_resnet"}
    training = {"max_epochs": 1, "trainer": {**QUIET, "limit_train_batches": 1, "limit_val_batches": 1}}
    recipe.write_text(
        yaml.safe_dump({"student": student, "data": "digits", "objective": "labels", "training": training})
    )
    assert main(["train", str(recipe), "--directory", str(tmp_path / "run")]) == 0
    student, data, _ = rebuilt(tmp_path / "run")
    inputs, _ = next(iter(data.validation["test"]))
    assert student(inputs).shape == (len(inputs), 10)
    capsys.readouterr()
