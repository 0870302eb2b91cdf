"""What the laws cannot see of the losses between samples: draws, pretext tasks, autocast, values of single samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.special import rel_entr
from torch import Tensor, nn

from knowledge_distillation.losses.relations.cc import cc
from knowledge_distillation.losses.relations.crd import CRD
from knowledge_distillation.losses.relations.ickd import ickd
from knowledge_distillation.losses.relations.pkt import pkt
from knowledge_distillation.losses.relations.rkd import rkd_angle
from knowledge_distillation.losses.relations.sp import sp
from knowledge_distillation.losses.relations.sskd import SSKD, sskd


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return student, teacher


def test_negatives_are_all_others() -> None:
    """A sample among its own negatives would be pushed away from itself; a row never drawn is never contrasted."""
    torch.manual_seed(0)
    module = CRD(3, 3, 5, width=2, negatives=200)
    index = torch.tensor([0, 2, 4])
    rows = module.drawn(index)
    assert torch.equal(rows[:, 0], index)
    for sample, row in zip(index.tolist(), rows, strict=True):
        assert set(row[1:].tolist()) == set(range(5)) - {sample}


def test_draws_follow_the_seed() -> None:
    """Two runs with one seed must be one run."""
    student, teacher = pair(4, 3)
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        module = CRD(3, 3, 20, width=2, negatives=6)
        values.append(module(student, teacher, index=torch.arange(4)))
    assert torch.equal(*values)


def test_contrast_learns_which_is_which() -> None:
    """Trained on nothing else, the student's features must come to tell the samples apart."""
    torch.manual_seed(0)
    inputs, teacher = pair(30, 6)
    body, module = nn.Linear(6, 6), CRD(6, 6, 30, width=8, negatives=12, temperature=0.2)
    optimiser = torch.optim.Adam([*body.parameters(), *module.parameters()], lr=1e-2)
    values = []
    for _ in range(40):
        value = module(body(inputs), teacher, index=torch.arange(30), labels=torch.arange(30) % 3)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.75 * values[1]


def test_pretext_trains_the_teachers_head_only() -> None:
    """A pretext that moved the teacher's body would change the teacher; one that moved nothing would be no task."""
    torch.manual_seed(0)
    images = torch.randn(16, 1, 6)
    features = (images + 0.3 * torch.randn(16, 4, 6)).requires_grad_()
    module = SSKD(6, 6)
    optimiser = torch.optim.Adam(module.teacher_head.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        value = module.pretext(features)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]
    assert features.grad is None
    assert all(parameter.grad is None for parameter in module.student_head.parameters())


def test_pretext_value() -> None:
    """Cosines over the temperature, and the right image as the label."""
    module = SSKD(2, 2, temperature=0.5)
    module.teacher_head = nn.Sequential(nn.Identity())
    views = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 1.0]]])
    torch.testing.assert_close(module.pretext(views), torch.tensor([2.0, 0.0]).logsumexp(0) - 2.0)


def test_wrong_rows_are_kept_by_rank() -> None:
    """Rows that the teacher gets badly wrong would teach the student the teacher's noise."""
    teacher = torch.eye(4).unsqueeze(1).repeat(1, 2, 1)
    teacher[0, 1] = torch.tensor([0.9, 1.0, 0.0, 0.0])
    teacher[1, 1] = torch.tensor([1.0, 0.8, 0.9, 0.0])
    student = torch.randn(4, 2, 4, generator=torch.Generator().manual_seed(0))
    each = sskd(student, teacher, keep_wrong=0.5, reduction="none")
    assert (each > 0).tolist() == [True, False, True, True]


@pytest.mark.parametrize("loss", [sp, cc, pkt, rkd_angle, ickd])
def test_autocast_keeps_precision(loss: Callable[..., Tensor]) -> None:
    """Relations differ by little: in bfloat16 most of what they say would be rounding."""
    student, teacher = pair(4, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student, teacher)
    assert torch.equal(value, loss(student, teacher))


def test_each_sample_has_its_own_divergence() -> None:
    """Per-sample values are used to weigh and to filter samples; a neighbour's value would weigh the wrong one."""
    student, teacher = (torch.relu(side.double()) + 0.1 for side in pair(5, 3))

    def neighbours(rows: Tensor) -> Tensor:
        kernel = (torch.cosine_similarity(rows.unsqueeze(0), rows.unsqueeze(1), dim=-1) + 1) / 2
        return kernel.fill_diagonal_(0.0) / (kernel.sum(1, keepdim=True))

    expected = torch.from_numpy(rel_entr(neighbours(teacher).numpy(), neighbours(student).numpy()).sum(1))
    torch.testing.assert_close(pkt(student, teacher, reduction="none"), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", [sp, cc, pkt, rkd_angle, ickd])
def test_equal_and_empty_samples_have_gradients(loss: Callable[..., Tensor]) -> None:
    """Repeated images and dead features must not turn a run into NaN."""
    student, teacher = pair(6, 3, 5)
    for broken in (student[:1].repeat(6, 1, 1), torch.zeros_like(student)):
        broken.requires_grad_()
        value = loss(broken, teacher)
        value.backward()
        assert value.isfinite()
        assert broken.grad.isfinite().all()
        assert broken.grad.abs().max() < 1e3
