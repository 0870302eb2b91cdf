"""Losses that need labels, on batches in which only some samples have one."""

from __future__ import annotations

import pytest
import torch

from knowledge_distillation.losses import catalogue, loss_named

NEEDING = [
    name
    for name, entry in catalogue().items()
    if entry.facts.needs == ("labels",) and entry.facts.signal == "logits" and entry.facts.families[0] == "logits"
]


def test_losses_that_need_labels_are_found() -> None:
    """Otherwise the test below looks at no loss and passes."""
    assert {"dkd", "nkd"} <= set(NEEDING)


@pytest.mark.parametrize("name", NEEDING)
def test_samples_without_label_do_not_count(name: str) -> None:
    """Otherwise -100 is taken for a class: an index error at best, a wrong target at worst."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([2, -100, 0, -100, 3])
    labelled = labels >= 0
    loss = loss_named(name)
    student.requires_grad_()
    value = loss(student, teacher, labels=labels)
    (gradient,) = torch.autograd.grad(value, student)
    alone = loss(student[labelled], teacher[labelled], labels=labels[labelled])
    assert value.item() == pytest.approx(alone.item(), rel=1e-12)
    assert torch.equal(gradient[~labelled], torch.zeros(2, 4, dtype=torch.float64))
    assert gradient[labelled].abs().sum() > 0


def test_a_number_that_is_not_known_does_not_count() -> None:
    """Otherwise one row without a value makes the loss NaN, and all weights with it."""
    generator = torch.Generator().manual_seed(0)
    student, labels = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    labels[1, 0] = labels[3] = torch.nan
    labelled = torch.tensor([True, False, True, False, True])
    student.requires_grad_()
    value = loss_named("label_regression")(student, labels=labels)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(((student - labels)[labelled] ** 2).mean().item(), rel=1e-12)
    assert torch.equal(gradient[~labelled], torch.zeros(2, 2, dtype=torch.float64))
    assert loss_named("label_regression")(student, labels=torch.full_like(labels, torch.nan)).item() == 0
