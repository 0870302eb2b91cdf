"""What goes wrong for a user whose layers of low rank are not the best of that rank."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError
from tests.students.models import INPUTS, MAKERS, SmallResNet, answer


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_linear_layer_becomes_its_best_approximation(rank: int) -> None:
    """Eckart and Young: no matrix of this rank is nearer, and the error is the norm of the singular values left out."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(20, 12))
    student = students.factorise(teacher, rank)
    left, values, right = torch.linalg.svd(teacher[0].weight.detach().double(), full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    torch.testing.assert_close(student[0].weight.detach().double(), best, rtol=1e-4, atol=1e-5)
    inputs = torch.randn(4, 20)
    expected = inputs.double() @ best.T + teacher[0].bias.detach().double()
    torch.testing.assert_close(answer(student, inputs).double(), expected, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in student.parameters()) == rank * (20 + 12) + 12


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 9, 9)),
        (nn.Conv1d(6, 8, 5, dilation=2, padding="same", padding_mode="circular"), (2, 6, 20)),
        (nn.Conv3d(6, 8, (1, 2, 3), bias=False), (2, 6, 4, 4, 4)),
    ],
    ids=["stride", "dilation", "three axes"],
)
def test_a_convolution_whose_rank_suffices_stays_itself(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Otherwise stride, padding or dilation sit in the wrong half."""
    torch.manual_seed(0)
    with torch.no_grad():  # rank 2
        layer.weight.copy_((torch.randn(8, 2) @ torch.randn(2, layer.weight[0].numel())).reshape(layer.weight.shape))
    teacher = nn.Sequential(layer)
    student = students.factorise(teacher, 2)
    inputs = torch.randn(*shape)
    torch.testing.assert_close(answer(student, inputs), answer(teacher, inputs), rtol=1e-4, atol=1e-4)
    assert len(student[0]) == 2


def test_energy_chooses_the_smallest_rank_that_keeps_it() -> None:
    """Otherwise a share of 0.9 keeps less than nine tenths, or more ranks than needed."""
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(16, 16))[0], torch.linalg.qr(torch.randn(16, 16))[0]
    teacher = nn.Sequential(nn.Linear(16, 16))
    with torch.no_grad():
        teacher[0].weight.copy_(left @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0] + [0.0] * 12)) @ right)
    squares = [16 / 30, 25 / 30, 29 / 30]
    for energy, rank in ((squares[0] - 0.01, 1), (squares[0] + 0.01, 2), (squares[1] + 0.01, 3), (0.999, 4)):
        assert students.factorise(teacher, energy=energy)[0].rank == rank


def test_what_would_not_get_smaller_stays_and_so_do_skipped_grouped_and_tied_layers() -> None:
    """Otherwise a tied head is untied without a word, or a student grows."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(30, 16)
            self.wide, self.kept, self.thin = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 2)
            self.grouped = nn.Conv1d(16, 16, 3, groups=4)
            self.head = nn.Linear(16, 30)
            self.head.weight = self.embed.weight

    student = students.factorise(Tied(), 4, skip=["kept"])
    assert isinstance(student.wide, students.LowRankLinear)
    assert all(type(layer) is nn.Linear for layer in (student.kept, student.thin, student.head))
    assert type(student.grouped) is nn.Conv1d
    assert student.head.weight is student.embed.weight


def test_a_layer_used_twice_stays_shared() -> None:
    """Otherwise weights that were one become two, and the student does not get as small as its teacher's sharing."""
    layer = nn.Linear(16, 16)
    student = students.factorise(nn.Sequential(layer, nn.ReLU(), layer), 2)
    assert student[0] is student[2]


@pytest.mark.parametrize("family", MAKERS)
def test_transformers_of_low_rank_answer_and_learn(family: str) -> None:
    """Otherwise a model that reads its layers' settings (Whisper's stride) fails where the layer was replaced."""
    torch.manual_seed(0)
    teacher = MAKERS[family]()
    student = students.factorise(teacher, 0.25).train()
    inputs = INPUTS[family]
    output = student(**inputs) if isinstance(inputs, dict) else student(inputs)
    (output if isinstance(output, torch.Tensor) else output["logits"]).square().mean().backward()
    halves = [module for module in student.modules() if isinstance(module, students.LowRankLinear)]
    assert halves
    used = [half for half in halves if half.down.weight.grad is not None]
    assert len(used) == len(halves)
    assert answer(student, inputs).shape == answer(teacher, inputs).shape


def test_gpt2_whose_weights_are_stored_the_other_way_round() -> None:
    """Otherwise its layers stay whole, or are approximated as if turned."""
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    layer = Conv1D(12, 8)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(8, 2) @ torch.randn(2, 12))
    student = students.factorise(nn.Sequential(layer), 2)
    inputs = torch.randn(3, 8)
    torch.testing.assert_close(answer(student, inputs), answer(nn.Sequential(layer), inputs), rtol=1e-4, atol=1e-4)


def test_flags_and_mode_are_the_teachers() -> None:
    """Otherwise half of a frozen layer learns."""
    student = students.factorise(SmallResNet().requires_grad_(False).eval(), 0.2)
    assert not any(p.requires_grad for p in student.parameters())
    assert not any(module.training for module in student.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "whole number >= 1"),
        ({"rank": 1.5}, "between 0 and 1"),
        ({"rank": True}, "whole number >= 1"),
        ({"rank": 100}, "No layer of SmallResNet gets smaller"),
        ({"energy": 1.0}, "between 0 and 1"),
        ({"rank": 2, "skip": ["steem"]}, "'stem'"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: dict[str, Any], message: str) -> None:
    """Otherwise the student is a plain copy, or a slip in a path leaves nothing out."""
    with pytest.raises(ConfigError, match=message):
        students.factorise(SmallResNet(), **arguments)
