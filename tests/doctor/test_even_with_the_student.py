"""A teacher beside a student that knows as much: how often they differ says whether that is known or chance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.doctor import Diagnosis, diagnose

CLASSES = 4


class Mistaken(nn.Module):
    """Names the class that its input carries, but the next one for the inputs between two numbers."""

    def __init__(self, first: int, end: int) -> None:
        super().__init__()
        self.first, self.end, self.scale = first, end, nn.Parameter(torch.ones(()))

    def forward(self, numbers: Tensor) -> Tensor:
        wrong = (numbers >= self.first) & (numbers < self.end)
        return 5.0 * self.scale * one_hot((numbers + wrong) % CLASSES, CLASSES).float()


def diagnosed(apart: int, items: int) -> Diagnosis:
    """Teacher and student are wrong on `apart` items each, none of them the same."""
    numbers = torch.arange(items)
    loader = DataLoader(TensorDataset(numbers, numbers % CLASSES), batch_size=items)
    return diagnose(Mistaken(0, apart), Mistaken(apart, 2 * apart), loader, checks=["teacher_skill"])


@pytest.mark.parametrize(("apart", "items"), [(1, 32), (4, 200)])
def test_few_mistakes_each_are_no_finding(apart: int, items: int) -> None:
    """Otherwise a student cut out of a good teacher is warned of on every second batch."""
    found = diagnosed(apart, items)
    assert found.checks == ("teacher_skill",)
    assert found.findings == ()


@pytest.mark.parametrize(("apart", "items"), [(4, 32), (6, 120)])
def test_many_mistakes_each_are_named(apart: int, items: int) -> None:
    """Otherwise a teacher that adds only other mistakes costs a training."""
    (finding,) = diagnosed(apart, items).named("teacher_skill")
    assert finding.severity == "warning"
    assert finding.fault == "The teacher is no better than the student already is."
    assert f"({apart} that only the student has right, {apart} that only the teacher has)" in finding.evidence
