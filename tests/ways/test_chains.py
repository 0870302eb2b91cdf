"""What goes wrong for a user when a student is not taught by the one before it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.ways import born_again, teach_in_turn
from tests.training.toys import QUIET, Difficult, flags, identical, loader, mlp, snapshot

SETTINGS: dict[str, Any] = {"max_epochs": 2, "learning_rate": 1e-2, "doctor": False, "trainer": QUIET}
SIZES = (12, 8, 4)


def chain() -> list[nn.Module]:
    return [mlp(seed, hidden=size) for seed, size in enumerate(SIZES, 1)]


def taught_by(directory: Path) -> str:
    return json.loads((directory / "environment.json").read_text())["teacher"]


def stored(directory: Path, fresh: nn.Module) -> nn.Module:
    load_model(fresh, str(directory / "student.safetensors"))
    return fresh


def test_every_student_is_taught_by_the_one_before(tmp_path: Path) -> None:
    """Otherwise the assistant is trained for nothing: the small student still follows the far too large teacher."""
    teacher, students = Difficult(), chain()
    before, modes = snapshot(teacher), flags(teacher)
    runs = teach_in_turn(teacher, students, loader(), directory=tmp_path, **SETTINGS)
    places = [tmp_path / "assistant-1", tmp_path / "assistant-2", tmp_path]
    assert [run.student for run in runs] == students
    assert [run.directory for run in runs] == places
    assert taught_by(places[0]) == LiveTeacher(teacher).fingerprint
    for number in (1, 2):
        assert taught_by(places[number]) == LiveTeacher(stored(places[number - 1], chain()[number - 1])).fingerprint
    for student, place, fresh in zip(students, places, chain(), strict=True):  # frozen while it taught the next
        start = snapshot(fresh)
        assert identical(snapshot(student), snapshot(stored(place, fresh)))
        assert not identical(snapshot(student), start)
    assert identical(snapshot(teacher), before)
    assert flags(teacher) == modes


class Breaking(TensorDataset):
    """The same points, until the power goes off at one of them."""

    left = -1

    def __getitem__(self, index: int) -> Any:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the power went off")
        return super().__getitem__(index)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_broken_off_chain_goes_on_without_training_a_finished_assistant_again(epoch: int, tmp_path: Path) -> None:
    """Otherwise resume='auto' repeats days of training, or ends with another student than an unbroken chain."""
    points = Breaking(*loader().dataset.tensors)
    batches = DataLoader(points, batch_size=8, shuffle=True)
    whole = teach_in_turn(mlp(9), chain(), batches, directory=tmp_path / "whole", **SETTINGS)
    broken = tmp_path / "broken"
    points.left = (2 + epoch) * len(points) + 10  # while the second assistant is taught
    with pytest.raises(RuntimeError, match="power"):
        teach_in_turn(mlp(9), chain(), batches, directory=broken, **SETTINGS)
    assert not (broken / "assistant-2" / "student.safetensors").exists()
    stamp = (broken / "assistant-1" / "metrics.csv").stat().st_mtime_ns
    again = teach_in_turn(mlp(9), chain(), batches, directory=broken, resume="auto", **SETTINGS)
    assert (broken / "assistant-1" / "metrics.csv").stat().st_mtime_ns == stamp
    for first, second in zip(whole, again, strict=True):
        assert identical(snapshot(first.student), snapshot(second.student))


def test_a_second_generation_is_taught_by_the_first(tmp_path: Path) -> None:
    """Otherwise every generation has the same teacher, and born-again is only a repetition."""
    made = []

    def make() -> nn.Module:
        made.append(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)))
        return made[-1]

    teacher = mlp(9)
    before = snapshot(teacher)
    runs = born_again(teacher, make, 2, loader(), directory=tmp_path, **SETTINGS)
    assert [run.student for run in runs] == made
    first = stored(tmp_path / "generation-1", make())
    assert taught_by(tmp_path / "generation-1") == LiveTeacher(teacher).fingerprint
    assert taught_by(tmp_path) == LiveTeacher(first).fingerprint
    assert identical(snapshot(teacher), before)
    assert not identical(snapshot(made[0]), snapshot(made[1]))


@pytest.mark.parametrize("generations", [0, True, 1.5])
def test_generations_that_are_no_count_are_named(generations: Any, tmp_path: Path) -> None:
    """Otherwise a run ends without a student."""
    with pytest.raises(ConfigError, match="generations"):
        born_again(mlp(9), mlp, generations, loader(), directory=tmp_path, **SETTINGS)


def test_a_model_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Otherwise a student teaches itself, or is trained over its own finished weights."""
    model = mlp(1)
    for teacher, students in ((model, [mlp(2), model]), (mlp(2), [model, model]), (model, [])):
        with pytest.raises(ConfigError, match="different objects"):
            teach_in_turn(teacher, students, loader(), directory=tmp_path, **SETTINGS)
    with pytest.raises(ConfigError, match="different objects"):
        born_again(mlp(9), lambda: model, 2, loader(), directory=tmp_path, **SETTINGS)


def test_a_directory_with_another_chain_is_refused(tmp_path: Path) -> None:
    """Otherwise the assistants of an earlier chain are overwritten."""
    settings = {**SETTINGS, "max_epochs": 1}
    teach_in_turn(mlp(9), chain()[:2], loader(), directory=tmp_path, **settings)
    shutil.rmtree(tmp_path / "checkpoints")
    for name in ("metrics.csv", "student.safetensors"):
        (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match="assistant-1"):
        teach_in_turn(mlp(9), chain()[:2], loader(), directory=tmp_path, **settings)
