"""What goes wrong for a user when some way of training changes the teacher: any optimiser, accumulation, processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.teachers import (
    ByLabel,
    ConfidentTeacher,
    EnsembleTeacher,
    LiveTeacher,
    RoutedTeacher,
    Teacher,
)
from knowledge_distillation.training.optimizers import OPTIMIZERS
from tests.ranks import run_ranks
from tests.teachers.frozen_processes import ACCUMULATED, EVERY, objective
from tests.training.toys import CLASSES, Difficult, flags, hooks_on, identical, loader, mlp, quiet_trainer, snapshot

Make = Callable[[list[nn.Module]], Teacher]
WRAPPED: dict[str, Make] = {
    "live": lambda models: LiveTeacher(models[0]),
    "ensemble": EnsembleTeacher,
    "confident": ConfidentTeacher,
    "routed": lambda models: RoutedTeacher(models, ByLabel([range(1), range(1, CLASSES)])),
}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes, which train together with every optimiser, saw of its teachers."""
    return run_ranks(Path(__file__).with_name("frozen_processes.py"), tmp_path_factory.mktemp("frozen"))


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", ACCUMULATED)
@pytest.mark.parametrize("optimizer", EVERY)
def test_two_processes_leave_the_teacher_bit_identical(
    optimizer: str, accumulate: int, two_processes: list[dict[str, Any]]
) -> None:
    """Otherwise DDP broadcasts the teacher's buffers, or weight decay moves it."""
    seen = [process[f"{optimizer} x{accumulate}"] for process in two_processes]
    for process in seen:
        facts = {name: value for name, value in process.items() if isinstance(value, bool)}
        assert facts == dict.fromkeys(facts, True)
        assert len(facts) == 7
        assert process["processes"] == 2
        assert process["steps"] == 6 // accumulate
    assert seen[0]["student"] == seen[1]["student"]


def test_every_optimiser_is_in_the_matrix() -> None:
    """Otherwise one that is added later is not looked at."""
    assert set(OPTIMIZERS) < set(EVERY)


@pytest.mark.parametrize("accumulate", ACCUMULATED)
@pytest.mark.parametrize("optimizer", EVERY)
def test_one_process_leaves_the_teacher_bit_identical(optimizer: str, accumulate: int) -> None:
    """Otherwise the teacher drifts: running statistics, weights, modes or flags that the user relies on later."""
    teacher, student = Difficult(), mlp()
    before, modes, start = snapshot(teacher), flags(teacher), snapshot(student)
    module = DistillationModule(student, teacher, objective(), optimizer=EVERY[optimizer], learning_rate=1e-2)
    quiet_trainer(max_epochs=2, accumulate_grad_batches=accumulate).fit(module, loader())
    assert identical(snapshot(teacher), before)
    assert flags(teacher) == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert hooks_on(teacher) == 0
    assert not identical(snapshot(student), start)


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_every_teacher_made_of_models_leaves_them_bit_identical(wrapped: str) -> None:
    """Otherwise the members of an ensemble drift, which nobody looks at one by one."""
    models: list[nn.Module] = [Difficult(7), Difficult(8)]
    before = [(snapshot(model), flags(model)) for model in models]
    teacher = WRAPPED[wrapped](models)
    first = teacher.fingerprint
    module = DistillationModule(mlp(), teacher, "kd", optimizer="sgd_momentum", learning_rate=1e-2)
    quiet_trainer(max_epochs=2, accumulate_grad_batches=2).fit(module, loader())
    for model, (tensors, modes) in zip(models, before, strict=True):
        assert identical(snapshot(model), tensors)
        assert flags(model) == modes
        assert hooks_on(model) == 0
    assert teacher.fingerprint == first
