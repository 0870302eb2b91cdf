"""A training that was looked at before is, to the bit, the training that was not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.doctor import preflight
from knowledge_distillation.run import distill
from knowledge_distillation.teachers import CachedTeacher, EMATeacher, EnsembleTeacher, SelfTeacher, write_cache
from tests.doctor.test_undisturbed import loader, network
from tests.training.workplace import workplace

__all__ = ["workplace"]
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}


def cached(teacher: nn.Module, folder: Path) -> CachedTeacher:
    engine = {"accelerator": "cpu", "devices": 1}
    write_cache(teacher, loader(), folder, signals=("logits",), engine=engine)
    return CachedTeacher(folder)


def made(kind: str, student: nn.Module, folder: Path) -> Any:
    torch.manual_seed(5)
    teacher = network(16)
    kinds = {
        "module": lambda: teacher,
        "ema": lambda: EMATeacher(student),
        "ensemble": lambda: EnsembleTeacher([teacher, network(12)]),
        "self": SelfTeacher,
        "cached": lambda: cached(teacher, folder),
    }
    return kinds[kind]()


@pytest.mark.parametrize("kind", ["module", "ema", "ensemble", "self", "cached"])
def test_the_student_is_the_same(kind: str, workplace: Path) -> None:
    """Otherwise whoever switches the doctor on compares other numbers than before."""
    objective = {"hint": {"loss": "hint", "student": "0", "teacher": "0"}, "cross_entropy": 1.0}
    weights = []
    for looked in (False, True):
        torch.manual_seed(1)
        student = network()
        teacher = made(kind, student, workplace / "cache")
        train = loader(torch.Generator().manual_seed(2))
        plan = {"objective": objective if kind == "self" else "kd", "learning_rate": 1e-2, "max_epochs": 1}
        torch.manual_seed(3)
        if looked:
            diagnosis = preflight(teacher, student, train, {"test": loader()}, trainer=QUIET, **copy.deepcopy(plan))
            assert {"finite", "term_balance"} <= set(diagnosis.checks), diagnosis.skipped
        run = distill(teacher, student, train, directory=workplace / f"run-{looked}", trainer=QUIET, **plan)
        weights.append(run.student.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
