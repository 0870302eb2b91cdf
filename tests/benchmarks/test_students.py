"""What goes wrong for a reader of the results when the two starts are not the same training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks import students as benchmark
from knowledge_distillation import students
from knowledge_distillation.domains.vision.data import digits
from knowledge_distillation.domains.vision.models import image_mlp
from tests.benchmarks.asked import run


def short(limit: int) -> dict[str, Callable[[], benchmark.Task]]:
    return {
        "digits": lambda: benchmark.Task(
            data=digits(batch_size=64),
            teacher=lambda: image_mlp(hidden=64),
            teacher_epochs=4,
            student_epochs=1,
            ways={"factorise": lambda teacher, data: students.factorise(teacher, 0.4)},
        )
    }


def test_a_start_from_the_teacher_is_seen_as_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the benchmark compares a student with itself."""
    monkeypatch.setattr(benchmark, "tasks", short)
    found = run("students", "--seeds", "3", "--tasks", "digits")
    (row,) = found["rows"]
    assert row["start_accuracy"] > 0.3  # chance is a tenth
    assert row["difference"] == pytest.approx(row["from_teacher"] - row["random"])
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["difference"] > 0
    assert row["share_of_parameters"] < 1
    assert found["better_on_every_task"] == (row["verdict"] == "helped")


def test_random_starts_differ_from_the_teachers_weights_and_from_each_other() -> None:
    """Otherwise some layers keep what the teacher taught them."""
    begun = students.factorise(image_mlp(hidden=64), 0.4)
    fresh = [benchmark._anew(begun) for _ in range(2)]
    for one, other, given in zip(*(list(model.parameters()) for model in (*fresh, begun)), strict=True):
        assert not torch.equal(one, other)
        assert not torch.equal(one, given)
    assert all(isinstance(model, nn.Sequential) for model in fresh)
