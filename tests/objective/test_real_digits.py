"""What goes wrong for a user when an objective that is right on toys teaches nothing on real pictures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.domains.vision import digits, small_cnn
from tests.training.toys import QUIET

SHORT = {"max_epochs": 3, "learning_rate": 1e-2, "trainer": QUIET}
BALANCED = {"kd": 1.0, "at": {"student": "@stages", "teacher": "@stages", "weight": 1.0}, "cross_entropy": 1.0}
OBJECTIVES: dict[str, Any] = {
    "schedules": {
        "kd": {
            "weight": 0.9,
            "schedule": {"name": "warm_up", "share": 0.5},
            "temperature": {"name": "cosine", "start": 8, "end": 2},
        },
        "dist": {"weight": 0.1, "schedule": {"name": "step", "at": 0.5, "before": 0.0, "after": 1.0}},
        "cross_entropy": {"weight": 0.1, "schedule": {"name": "linear", "start": 1.0, "end": 0.5}},
    },
    "gradient norm": {**BALANCED, "balance": "gradient_norm"},
    "uncertainty": {**BALANCED, "balance": "uncertainty"},
    "projectors": {
        "kd": 1.0,
        "hint": {"student": "@last", "teacher": "@last", "projector": "auto"},
        "vid": {"student": "@last", "teacher": "@last", "weight": 0.1},
    },
    "preset reviewkd": "reviewkd",
    "preset ctkd": "ctkd",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """A CNN that knows the digits."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("teacher")
    return kd.distill(
        None, small_cnn(width=24), digits().train, objective="labels", directory=directory, **SHORT
    ).student


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_student_learns_real_digits_and_leaves_the_rest_behind(
    name: str, teacher: nn.Module, tmp_path: Path
) -> None:
    """Otherwise the method runs to its end, and its student guesses or carries what only training needs."""
    data, student = digits(), small_cnn(width=8)
    shipped = set(student.state_dict())
    run = kd.distill(
        teacher, student, data.train, data.validation, objective=OBJECTIVES[name], directory=tmp_path / "run", **SHORT
    )
    assert run.scores["test"] >= 0.5  # chance is 0.1
    assert set(load_file(run.directory / "student.safetensors")) == shipped
    with (run.directory / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    terms = set(run.module.objective.terms)
    assert terms <= columns
    if "balance" in OBJECTIVES[name]:
        assert {f"weight_{term}" for term in terms} <= columns
