"""What goes wrong for a user when a sample is answered by another teacher than its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError
from knowledge_distillation.teachers import ByLabel, RoutedTeacher
from tests.training.toys import Difficult, flags, identical, loader, mlp, quiet_trainer, snapshot

CPU = torch.device("cpu")
INPUTS = torch.arange(15.0).reshape(5, 3) + 1
KEYS = ["b", "a", "b", "c", "a"]
FACTORS = {"a": 2.0, "b": -3.0, "c": 5.0}


class Times(nn.Module):
    """Exact in floating point, whatever the batch; remembers what it was shown."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(inputs)
        return inputs * self.factor


def routed(route: Any = lambda batch: KEYS) -> tuple[RoutedTeacher, dict[str, Times]]:
    models = {key: Times(factor) for key, factor in FACTORS.items()}
    teacher = RoutedTeacher(models, route)
    teacher.prepare(CPU)
    return teacher, models


def test_every_sample_gets_its_own_teachers_logits_and_no_other_teacher_sees_it() -> None:
    """Otherwise answers come back in the teachers' order, and samples learn what belongs to others."""
    teacher, models = routed()
    answer = teacher.signals((INPUTS, torch.arange(5)), ("logits",)).logits
    assert answer is not None
    for place, key in enumerate(KEYS):
        assert torch.equal(answer[place], INPUTS[place] * FACTORS[key])
    assert {key: sum(map(len, model.seen)) for key, model in models.items()} == {"a": 2, "b": 2, "c": 1}
    assert torch.equal(models["b"].seen[0], INPUTS[[0, 2]])


def test_a_tensor_may_route_to_numbered_teachers() -> None:
    """Otherwise a route that a model computes cannot be used."""
    teacher = RoutedTeacher([Times(2.0), Times(7.0)], lambda batch: (batch[0][:, 0] > 5).long())
    teacher.prepare(CPU)
    answer = teacher.signals((INPUTS, None), ("logits",)).logits
    assert torch.equal(answer, INPUTS * torch.tensor([2.0, 2.0, 7.0, 7.0, 7.0]).unsqueeze(1))


def test_a_route_to_nobody_is_named() -> None:
    """Otherwise a sample silently goes without a teacher, or the message is a bare KeyError."""
    teacher, _ = routed(lambda batch: ["a", "a", "bb", "a", "a"])
    with pytest.raises(ConfigError, match="sample 2 to teacher 'bb'"):
        teacher.signals((INPUTS, None), ("logits",))


def test_a_route_of_another_length_than_the_batch_is_refused() -> None:
    """Otherwise some samples are left out and the others are taught the wrong answers."""
    teacher, _ = routed(lambda batch: KEYS[:4])
    with pytest.raises(ShapeError, match="4 samples"):
        teacher.signals((INPUTS, None), ("logits",))


def test_labels_route_to_the_teacher_of_their_group() -> None:
    """Otherwise specialists answer for classes they have never learnt."""
    route = ByLabel([[0, 1], [2, 3], [9]])
    assert route((INPUTS, torch.tensor([9, 0, 3, 2, 1]))) == [2, 0, 1, 1, 0]
    assert route({"inputs": INPUTS, "labels": torch.tensor([9, 0])}) == [2, 0]
    with pytest.raises(ConfigError, match="Label 7 is in none"):
        route((INPUTS, torch.tensor([0, 7])))
    with pytest.raises(ConfigError, match="-100"):
        route((INPUTS, torch.tensor([0, -100])))
    with pytest.raises(ModelContractError, match="no"):
        route((INPUTS,))
    with pytest.raises(ConfigError, match="twice"):
        ByLabel([[0, 1], [1, 2]])


def test_dict_batches_are_split_with_all_that_is_in_them() -> None:
    """Otherwise a teacher is shown its samples with the masks of other samples."""
    seen = []

    class Masked(nn.Module):
        def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
            seen.append((inputs, mask))
            return inputs * mask.unsqueeze(1)

    mask = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    teacher = RoutedTeacher([Masked(), Masked()], lambda batch: [1, 0, 0, 1, 1])
    teacher.prepare(CPU)
    answer = teacher.signals({"inputs": INPUTS, "mask": mask}, ("logits",)).logits
    assert torch.equal(answer, INPUTS * mask.unsqueeze(1))
    assert {len(inputs) for inputs, _ in seen} == {2, 3}


def test_training_leaves_every_member_bit_identical() -> None:
    """Otherwise the members drift while they teach: batch statistics, weights, modes or gradient flags."""
    members = [Difficult(seed) for seed in (7, 8)]
    before = [(snapshot(model), flags(model)) for model in members]
    teacher = RoutedTeacher(members, ByLabel([[0], [1, 2]]))
    quiet_trainer(max_epochs=2).fit(DistillationModule(mlp(), teacher, "kd"), loader())
    for model, (weights, modes) in zip(members, before, strict=True):
        assert identical(snapshot(model), weights)
        assert flags(model) == modes
        assert model.calls > 0
