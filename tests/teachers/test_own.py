"""What goes wrong for a user when a student that teaches itself moves its teaching part as well."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import KD
from knowledge_distillation.objective import Term
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import EnsembleTeacher, SelfTeacher
from tests.training.toys import CLASSES, FEATURES, filled, identical, loader, mlp, quiet_trainer, snapshot

CPU = torch.device("cpu")


class Exits(nn.Module):
    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.stem, self.exit1 = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)
        self.deep, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)
        filled(self, seed)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        first = self.stem(inputs).relu()
        return {"logits": self.head(self.deep(first).relu()), "exit1": self.exit1(first)}


def test_the_gradient_is_that_of_a_constant_target() -> None:
    """Otherwise the deepest exit is pulled down to the shallow one's answers."""
    student = Exits()
    by_hand = copy.deepcopy(student)
    inputs = torch.linspace(-2, 2, 30).reshape(6, FEATURES)
    module = DistillationModule(student, SelfTeacher(), {"exit1_kd": Term(KD(2.0), student="exit1")})
    module.setup("fit")
    total, _ = module.distillation_loss((inputs, torch.zeros(6, dtype=torch.long)))
    total.backward()
    said = by_hand(inputs)
    target = (said["logits"].detach() / 2).softmax(-1)
    (4 * F.kl_div((said["exit1"] / 2).log_softmax(-1), target, reduction="batchmean")).backward()
    for name, parameter in by_hand.named_parameters():
        mine = student.get_parameter(name).grad
        if parameter.grad is None:
            assert mine is None or not mine.any(), name
        else:
            torch.testing.assert_close(mine, parameter.grad)
    assert by_hand.head.weight.grad is None
    assert by_hand.stem.weight.grad is not None


def test_training_by_the_deepest_exit_leaves_it_bit_identical() -> None:
    """Otherwise a run whose only term teaches the first exit changes the last one."""
    student = Exits()
    before = snapshot(student)
    module = DistillationModule(
        student, SelfTeacher(), {"exit1_kd": Term(KD(2.0), student="exit1")}, learning_rate=1e-2,
        optimizer=torch.optim.SGD,
    )  # fmt: skip
    quiet_trainer(max_epochs=2).fit(module, loader())
    after = snapshot(student)
    for part in ("head", "deep"):
        assert torch.equal(after[f"{part}.weight"], before[f"{part}.weight"])
    assert not torch.equal(after["exit1.weight"], before["exit1.weight"])
    assert not identical(after, before)


def test_another_exit_may_stand_as_the_deepest() -> None:
    """Otherwise a model whose best exit is not its output cannot teach itself."""
    exit2 = torch.randn(2, 3, requires_grad=True)
    student = Signals(logits=torch.zeros(2, 3), features={"exit2": exit2, "pair": (exit2 * 2, exit2)})
    teacher = SelfTeacher("exit2")
    assert teacher.reads(("logits", "layer")) == ("exit2", "layer")
    answer = teacher.from_student(student)
    assert answer.logits is not None
    assert torch.equal(answer.logits, exit2)
    tensors: list[Any] = [answer.logits, answer.features["exit2"], *answer.features["pair"]]
    assert not any(tensor.requires_grad for tensor in tensors)
    with pytest.raises(ConfigError, match="exit9"):
        SelfTeacher("exit9").from_student(student)


def test_it_cannot_be_a_member_of_an_ensemble() -> None:
    """Otherwise the ensemble asks it about a batch, and the answer is silently nobody's."""
    teacher = EnsembleTeacher([mlp(), SelfTeacher()])
    teacher.prepare(CPU)
    with pytest.raises(ConfigError, match="SelfTeacher"):
        teacher.signals((torch.zeros(2, FEATURES), None))
    teacher.release()
