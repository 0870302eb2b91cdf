"""What goes wrong for a user when a recipe runs something else than it says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.recipes.reading import Recipe, check_recipe, read_recipe
from knowledge_distillation.recipes.running import own_names, run_recipe
from knowledge_distillation.run import Run
from tests.needing import needs
from tests.training.toys import QUIET, identical, snapshot

MODULE = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from knowledge_distillation.domains.data import Data

def points(*, count=24, labelled=None, batch_size=8):
    """Random points."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 5, generator=generator)
    labels = torch.randint(3, (count,), generator=generator)
    kept = labels.clone()
    if labelled is not None:
        kept[labelled:] = -100
    return Data(
        train=DataLoader(TensorDataset(inputs, kept), batch_size=batch_size, shuffle=True),
        validation={"test": DataLoader(TensorDataset(inputs, labels), batch_size=8)},
        facts={"classes": 3, "features": 5},
    )

def net(classes, features, hidden=4):
    """One hidden layer."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

def no_data():
    """Returns the wrong thing."""
    return [1, 2]

def _private():
    pass
'''
TRAINING = {"max_epochs": 2, "trainer": dict(QUIET)}


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "mine.py"
    file.write_text(MODULE)
    return own_names(file)


def recipe(**sections: Any) -> Recipe:
    content = {
        "teacher": {"name": "net", "hidden": 8},
        "student": {"name": "net"},
        "data": {"name": "points"},
        "training": TRAINING,
        **sections,
    }
    return check_recipe({name: value for name, value in content.items() if value is not None}, "test")


def run(own: dict[str, Any], directory: Path, resume: str | None = None, **sections: Any) -> Run:
    return run_recipe(recipe(**sections), directory=directory, own=own, resume=resume)


def contents(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_own_names_are_the_public_ones_of_the_file(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise users cannot bring their own models, or private helpers become model names."""
    assert {"points", "net", "no_data"} <= set(own)
    assert "_private" not in own
    assert "torch" not in own


def test_a_users_file_may_hold_dataclasses(tmp_path: Path) -> None:
    """Otherwise a common way of writing settings ends in an AttributeError from inside the standard library."""
    file = tmp_path / "settings.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Width:\n    value: int = 3\n"
    )
    assert own_names(file)["Width"]().value == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("import absent_package_xyz", "ModuleNotFoundError"),
        ("1 +", "SyntaxError"),
        ("1 / 0", "ZeroDiv"),
    ],
)
def test_a_users_file_that_fails_is_an_input_error_with_its_reason(
    content: str | None, message: str, tmp_path: Path
) -> None:
    """Otherwise the user reads a traceback through our code to find their own mistake."""
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=rf"--module .*{message}"):
        own_names(file)


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    """Otherwise a YAML file given as --module is run as code, or fails without a word."""
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"ending in \.py"):
        own_names(tmp_path / "mine.txt")


def test_the_students_start_depends_on_the_seed_alone(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the same recipe gives another student each time."""
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(weights))
        done = run(own, tmp_path / name, training={**TRAINING, "seed": seed})
        weights.append(snapshot(done.student))
    assert identical(weights[0], weights[1])
    assert not identical(weights[0], weights[2])


def test_a_teacher_is_trained_first_and_stays_as_it_was_written(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the student learns from an untrained teacher, or from one that saw few labels."""
    teacher = {"name": "net", "hidden": 8, "train": {**TRAINING, "max_epochs": 3, "data": {"labelled": None}}}
    done = run(own, tmp_path / "run", teacher=teacher, data={"name": "points", "labelled": 6})
    stored = load_file(tmp_path / "run" / "teacher" / "student.safetensors")
    live = done.module._teacher
    assert identical(stored, snapshot(live.model))
    plan = yaml.safe_load((tmp_path / "run" / "teacher" / "recipe.yaml").read_text())
    assert plan["training"]["max_epochs"] == 3
    assert list(plan["objective"]) == ["cross_entropy"]
    labels = done.module.trainer.train_dataloader.dataset.tensors[1]
    assert int((labels >= 0).sum()) == 6
    alone = run(own, tmp_path / "alone", teacher=None, student={"name": "net", "hidden": 8}, objective="labels",
                training={**TRAINING, "max_epochs": 3})  # fmt: skip
    assert alone.scores.keys() == {"test"}


def test_the_teachers_data_replaces_single_settings(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the teacher is trained on the student's few labels, and looks as weak as the student."""
    seen: list[Any] = []

    def points(**settings: Any) -> Any:
        seen.append(settings)
        return own["points"](**settings)

    teacher = {"name": "net", "train": {**TRAINING, "data": {"labelled": None}}}
    run(
        {**own, "points": points},
        tmp_path / "run",
        teacher=teacher,
        data={"name": "points", "labelled": 6, "count": 16},
    )
    assert sorted(map(str, seen)) == ["{'labelled': 6, 'count': 16}", "{'labelled': None, 'count': 16}"]


def test_the_written_recipe_is_the_recipe(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the run's own recipe.yaml cannot be used to repeat it."""
    wanted = recipe(
        objective={"kd": {"loss": "kd", "weight": 0.9}, "cross_entropy": 0.1},
        training={**TRAINING, "learning_rate": 1e-5},
    )
    done = run_recipe(wanted, directory=tmp_path / "run", own=own)
    assert read_recipe(done.directory / "recipe.yaml") == wanted


def test_weights_of_a_teacher_are_loaded(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise an expensive teacher is silently replaced by an untrained one."""
    wanted = snapshot(own["net"](3, 5, 8))
    save_file(wanted, tmp_path / "teacher.safetensors")
    teacher = {"name": "net", "hidden": 8, "weights": str(tmp_path / "teacher.safetensors")}
    done = run(own, tmp_path / "run", teacher=teacher)
    assert identical(snapshot(done.module._teacher.model), wanted)


@pytest.mark.parametrize("kind", ["missing", "pickle", "other shape", "cut"])
def test_weights_that_cannot_be_loaded_are_named(kind: str, own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise the user cannot tell a wrong file from a wrong model."""
    path = tmp_path / "teacher.safetensors"
    if kind == "pickle":
        torch.save(own["net"](3, 5, 8).state_dict(), path)
    elif kind != "missing":
        save_file(snapshot(own["net"](3, 5, 8 if kind == "cut" else 9)), path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors cannot be loaded into net"):
        run(own, tmp_path / "run", teacher={"name": "net", "hidden": 8, "weights": str(path)})


def test_an_untrained_teacher_is_warned_about(
    own: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a forgotten line makes the student learn noise."""
    run(own, tmp_path / "run")
    assert "neither weights nor a train section" in caplog.text


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"student": {"name": "nett"}}, r"no model named 'nett'.*Did you mean 'net'"),
        ({"data": {"name": "point"}}, r"no data set named 'point'.*'points'"),
        ({"student": {"name": "net", "hiden": 3}}, r"no setting 'hiden'.*'hidden'"),
        ({"data": {"name": "points", "batchsize": 3}}, r"no setting 'batchsize'.*'batch_size'"),
        ({"data": {"name": "no_data"}}, "must return a domains.data.Data, got list"),
        ({"objective": "kdd"}, "'kdd'"),
        ({"objective": None, "teacher": None}, "no teacher"),
        ({"training": {"optimizer": "adm"}}, "'adm'"),
        ({"training": {"max_epochs": "three"}}, "max_epochs"),
        ({"training": {"learning_rate": "fast"}}, "learning_rate"),
        ({"training": {"seed": "lucky"}}, "seed"),
        ({"training": {"seed": -1}}, "seed"),
        ({"training": {"warm_up_epochs": "two", "schedule": "linear"}}, "warm_up"),
        ({"training": {"trainer": 5}}, "trainer"),
        ({"training": {"trainer": {"max_step": 5}}}, "max_step"),
        ({"training": {"track": "tensorboard"}}, "track"),
        ({"training": {"precision": "17"}}, "17"),
        ({"teacher": {"name": "net", "train": {"data": 5}}}, "data"),
        pytest.param({"data": {"name": "digits", "batch_size": "many"}}, "batch_size", marks=needs("vision")),
        pytest.param({"data": {"name": "digits", "labelled": "few"}}, "labelled", marks=needs("vision")),
        pytest.param({"student": {"name": "image_mlp", "hidden": "wide"}}, "hidden", marks=needs("vision")),
        ({"student": {"name": "net", "weights": 5}}, "weights"),
    ],
    ids=str,
)
def test_a_wrong_value_is_an_input_error_that_names_it(
    sections: dict[str, Any], message: str, own: dict[str, Any], tmp_path: Path
) -> None:
    """Otherwise a typing error in a recipe is a Python traceback, and the exit code says that the run failed."""
    if "training" in sections:
        sections = {"training": {"trainer": dict(QUIET), "max_epochs": 1, **sections["training"]}}
    with pytest.raises(ConfigError, match=message):
        run(own, tmp_path / "run", **sections)


def test_an_occupied_directory_is_refused_before_the_teacher_is_trained(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise hours of teacher training are written into another run's directory, and then refused."""
    run(own, tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        run(own, tmp_path / "run", teacher={"name": "net", "train": dict(TRAINING)})
    assert contents(tmp_path / "run") == before


def test_wrong_student_settings_are_refused_before_the_teacher_is_trained(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise a misspelt objective is found after the teacher's last epoch."""
    with pytest.raises(ConfigError, match="'kdd'"):
        run(own, tmp_path / "run", teacher={"name": "net", "train": dict(TRAINING)}, objective="kdd")
    assert not (tmp_path / "run" / "teacher" / "student.safetensors").exists()


def test_continuing_takes_the_finished_teacher(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise continuing the student trains the teacher again, and teaches something else."""
    plan = {"name": "net", "hidden": 8, "train": dict(TRAINING)}
    run(own, tmp_path / "run", teacher=plan)
    before = contents(tmp_path / "run" / "teacher")
    longer = run(own, tmp_path / "run", teacher=plan, training={**TRAINING, "max_epochs": 3}, resume="auto")
    assert longer.module.trainer.global_step == 9
    assert contents(tmp_path / "run" / "teacher") == before
    whole = run(own, tmp_path / "whole", teacher=plan, training={**TRAINING, "max_epochs": 3})
    assert identical(snapshot(longer.student), snapshot(whole.student))


def test_continuing_finishes_a_teacher_that_was_broken_off(own: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise a crash in the teacher's training leaves a directory that neither a fresh run nor a resume accepts."""

    class Stop(Exception):
        pass

    def fragile(classes: int, features: int) -> Any:
        model = own["net"](classes, features, 8)
        calls: list[int] = []

        def count(*_: Any) -> None:
            calls.append(1)
            if len(calls) == 9 and broken:
                raise Stop

        model.register_forward_pre_hook(count)
        return model

    plan = {"name": "fragile", "train": dict(TRAINING)}
    broken = True
    with pytest.raises(Stop):
        run({**own, "fragile": fragile}, tmp_path / "run", teacher=plan)
    broken = False
    done = run({**own, "fragile": fragile}, tmp_path / "run", teacher=plan, resume="auto")
    assert done.scores
    assert (tmp_path / "run" / "teacher" / "student.safetensors").is_file()


def test_the_recipes_directory_is_used_and_the_callers_wins(
    own: dict[str, Any], tmp_path: Path, workplace: Path
) -> None:
    """Otherwise a run is written where nobody looks for it."""
    named = {**TRAINING, "max_epochs": 1, "directory": str(tmp_path / "named")}
    assert run_recipe(recipe(training=named), own=own).directory == tmp_path / "named"
    assert run_recipe(recipe(training=named), own=own, directory=tmp_path / "mine").directory == tmp_path / "mine"
    free = run_recipe(recipe(training={**TRAINING, "max_epochs": 1}), own=own)
    assert free.directory == Path("runs/run-001")
