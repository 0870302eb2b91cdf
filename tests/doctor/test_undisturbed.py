"""An examination changes nothing: a training with it is the training without it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.doctor import diagnose
from knowledge_distillation.errors import ConfigError


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 3))


def loader(generator: torch.Generator | None = None) -> DataLoader[Any]:
    drawn = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=drawn)
    data = TensorDataset(inputs, inputs[:, :3].argmax(dim=1))
    return DataLoader(data, 32, shuffle=True, generator=generator)


@pytest.mark.parametrize("quick", [True, False])
def test_models_loaders_and_generators_are_left_as_they_were(quick: bool) -> None:
    """Otherwise a student trained after a look is another student, and no run can be repeated."""
    teacher, student, generator = network(16), network(), torch.Generator().manual_seed(7)
    student[1].eval()
    train = loader(generator)
    before = {name: tensor.clone() for model in (teacher, student) for name, tensor in model.state_dict().items()}
    modes = [module.training for model in (teacher, student) for module in model.modules()]
    states = generator.get_state(), torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    diagnosis = diagnose(teacher, student, train, {"test": loader()}, quick=quick)
    assert "teacher_skill" in diagnosis.checks  # it did look
    after = {name: tensor for model in (teacher, student) for name, tensor in model.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert modes == [module.training for model in (teacher, student) for module in model.modules()]
    assert torch.equal(states[0], generator.get_state())
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert not any(module._forward_hooks for model in (teacher, student) for module in model.modules())
    assert all(parameter.grad is None for model in (teacher, student) for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_a_loader_that_can_be_walked_once_keeps_its_batches() -> None:
    """Otherwise the look eats the first batches of a stream."""
    stream = iter([(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)) for _ in range(3)])
    diagnosis = diagnose(network(16), network(), stream, quick=True)
    assert len(list(stream)) == 3
    assert "walked only once" in diagnosis.skipped["teacher_skill"]


def test_a_check_that_fails_hides_no_other() -> None:
    """Otherwise one odd model silences the doctor."""

    class Odd(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("odd")

    diagnosis = diagnose(network(16), Odd(), loader(), {"test": loader()}, schedule="cosine", warm_up_epochs=99)
    assert diagnosis.named("warm_up")
    (finding,) = [found for found in diagnosis.named("models_run") if "student" in found.fault]
    assert finding.severity == "error"
    assert "RuntimeError: odd" in finding.evidence


def test_what_cannot_be_examined_is_refused() -> None:
    """A misspelt check that runs nothing would read as health."""
    with pytest.raises(ConfigError, match=r"no check named 'learning_rat'.*learning_rate"):
        diagnose(None, network(), loader(), checks=["learning_rat"])
    with pytest.raises(ConfigError, match=r"student must be an nn\.Module, got str"):
        diagnose(None, "student", loader())  # type: ignore[arg-type]


def test_a_diagnosis_is_plain_data(tmp_path: Path) -> None:
    """The report reads doctor.json, without this package's classes."""
    diagnosis = diagnose(network(16), network(), loader(), checks=["teacher_skill", "devices"])
    diagnosis.write(tmp_path)
    read = json.loads((tmp_path / "doctor.json").read_text(encoding="utf-8"))
    assert read == diagnosis.as_dict()
    assert set(read) == {"findings", "checks", "skipped", "seconds"}
    assert {"severity", "fault", "evidence", "harm", "fix", "check"} == set(read["findings"][0])
