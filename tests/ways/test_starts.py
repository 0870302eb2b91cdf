"""What goes wrong for a user when things that must differ are begun alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.training.optimizers import OPTIMIZERS
from knowledge_distillation.ways import born_again
from knowledge_distillation.ways.data_free import with_second_rate
from knowledge_distillation.ways.generator import Noise
from tests.training.toys import QUIET, identical, loader, mlp, snapshot


def test_every_generation_starts_from_weights_of_its_own_the_same_in_every_run(tmp_path: Path) -> None:
    """Otherwise a generation repeats the one before, and an ensemble of them is one model several times."""
    starts: list[dict[str, Tensor]] = []

    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        starts.append(snapshot(model))
        return model

    for name in ("first", "second"):
        born_again(mlp(9), make, 2, loader(), directory=tmp_path / name, max_epochs=1, seed=3, trainer=QUIET)
    assert not torch.equal(starts[0]["0.weight"], starts[1]["0.weight"])
    assert all(identical(mine, again) for mine, again in zip(starts[:2], starts[2:], strict=True))


def test_processes_with_equal_random_states_draw_different_noise() -> None:
    """Otherwise several GPUs, which share a seed but not the batches' numbers, all invent the same images."""
    drawn = []
    for index in (0, 1):
        torch.manual_seed(0)
        drawn.append(Noise(2, 4, 8)[index])
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_generator_has_the_rate_that_was_asked_for_and_the_student_its_own(optimizer: str) -> None:
    """Otherwise generator_learning_rate does nothing, and the generator outruns the student."""
    student, generator = nn.Linear(2, 3), nn.Linear(4, 5)
    make = with_second_rate(optimizer, list(generator.parameters()), 0.25)
    groups = make([*generator.parameters(), *student.parameters()], lr=0.125).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates == {id(p): 0.25 for p in generator.parameters()} | {id(p): 0.125 for p in student.parameters()}
