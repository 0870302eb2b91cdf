"""What goes wrong for a user when the averaged teacher is not the average of the student's past."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

import knowledge_distillation as kd
from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.teachers import EMATeacher, LiveTeacher
from tests.training.toys import CLASSES, FEATURES, QUIET, filled, identical, loader, mlp, quiet_trainer, snapshot

DECAY = 0.9
BOTH = {"kd": 1.0, "cross_entropy": 1.0}


def normed(seed: int = 1) -> nn.Module:
    return filled(nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES)), seed)


def closed_form(past: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """decay^n w_0 + (1 - decay) sum_k decay^(n - k) w_k, in float64."""
    count = len(past) - 1
    shares = [DECAY**count] + [(1 - DECAY) * DECAY ** (count - step) for step in range(1, count + 1)]
    return {name: sum(s * w[name].double() for s, w in zip(shares, past, strict=True)) for name in past[0]}


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


class Steps(Callback):
    """The student's parameters after every optimiser step."""

    def __init__(self, student: nn.Module) -> None:
        self.past = [parameters(student)]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        if trainer.global_step == len(self.past):
            self.past.append(parameters(pl_module.student_model))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_moves_the_average_once_an_optimiser_step(accumulate: int) -> None:
    """Otherwise the average runs ahead or behind, once a batch or never, and its decay means something else."""
    student = normed()
    teacher = EMATeacher(student, DECAY)
    steps = Steps(student)
    module = DistillationModule(student, teacher, BOTH, learning_rate=1e-2)
    quiet_trainer(max_epochs=4, accumulate_grad_batches=accumulate, callbacks=[steps]).fit(module, loader())
    assert len(steps.past) == 1 + 12 // accumulate
    for name, expected in closed_form(steps.past).items():
        torch.testing.assert_close(teacher.model.get_parameter(name).double(), expected, rtol=1e-5, atol=1e-6)
    assert not identical(parameters(teacher.model), steps.past[-1])


def test_buffers_are_copied_and_the_student_is_left_alone() -> None:
    """Otherwise the average answers in eval mode with the batch statistics of an untrained network."""
    student = normed()
    teacher = EMATeacher(student, DECAY)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    student.train()(torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(0)) * 3 + 1)
    before = snapshot(student)
    teacher.after_step(student)
    assert identical(snapshot(student), before)
    assert all(parameter.requires_grad for parameter in student.parameters())
    copied = dict(teacher.model.named_buffers())
    assert identical(copied, dict(student.named_buffers()))
    assert int(copied["1.num_batches_tracked"]) == 1


def test_the_answer_is_that_of_the_average_in_eval_mode() -> None:
    """Otherwise the student is taught by itself, or by a network whose answers depend on the batch."""
    student = normed()
    inputs = torch.linspace(-1, 1, 20).reshape(4, FEATURES)
    expected = copy.deepcopy(student).eval()(inputs)
    teacher = EMATeacher(student, DECAY)
    filled(student, 9)
    teacher.prepare(torch.device("cpu"))
    answer = teacher.signals((inputs, None)).logits
    assert answer is not None
    assert not answer.requires_grad
    torch.testing.assert_close(answer, expected)
    assert teacher.fingerprint != LiveTeacher(student).fingerprint


def test_a_continued_run_goes_on_from_the_average_of_the_first(tmp_path: Path) -> None:
    """Otherwise resume='auto' throws the average away, and the student is taught by its own present weights."""

    def train(directory: str, epochs: int, resume: str | None = None) -> tuple[nn.Module, EMATeacher]:
        student = normed(seed=5 if resume else 1)  # what a continued run begins with must not matter
        teacher = EMATeacher(student, DECAY)
        kd.distill(
            teacher, student, loader(), objective=BOTH, max_epochs=epochs, learning_rate=1e-2,
            directory=tmp_path / directory, resume=resume, trainer=QUIET,
        )  # fmt: skip
        return student, teacher

    student, teacher = train("whole", 4)
    _, half = train("parts", 2)
    saved = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)["teacher"]
    assert identical(saved, snapshot(half.model))
    again, continued = train("parts", 4, resume="auto")
    assert identical(snapshot(again), snapshot(student))
    assert identical(snapshot(continued.model), snapshot(teacher.model))
    assert not identical(snapshot(continued.model), snapshot(half.model))


def test_a_checkpoint_without_or_with_another_average_is_refused(tmp_path: Path) -> None:
    """Otherwise a run goes on with an average that never was, and nobody is told."""
    kd.distill(mlp(2), mlp(1), loader(), max_epochs=1, directory=tmp_path / "run", trainer=QUIET)
    student = mlp(1)
    with pytest.raises(CheckpointError, match="hold the teacher"):
        kd.distill(
            EMATeacher(student), student, loader(), max_epochs=2, directory=tmp_path / "run", resume="auto",
            trainer=QUIET,
        )  # fmt: skip
    with pytest.raises(CheckpointError, match="does not fit"):
        EMATeacher(mlp()).load_state_dict(EMATeacher(mlp(hidden=9)).state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan"), "0.9"])
def test_a_decay_that_is_no_share_is_named(decay: Any) -> None:
    """Otherwise the average grows without bound."""
    with pytest.raises(ConfigError, match="decay"):
        EMATeacher(mlp(), decay)
