"""What goes wrong for a user when gradients are made early, in chunks, and for some tensors only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from knowledge_distillation.losses import Projected, fused_divergence
from tests.kernels.setting import Head, Setting, assert_same, by_fused, by_plain, material, outcome

SETTING = Setting(items=(6,), student=Head(bias=True), masked=True, hard_weight=0.5)
LOGITS = replace(SETTING, student=Head(projected=False), teacher=Head(projected=False))
BOTH = pytest.mark.parametrize("setting", [SETTING, LOGITS], ids=["projected", "logits"])


@BOTH
def test_a_weighed_loss_has_a_weighed_gradient(setting: Setting) -> None:
    """Otherwise a term's weight, or the scaling of mixed precision, is lost."""
    given = material(setting)
    assert_same(
        outcome(by_fused(setting, given) * -3.0, given.leaves), outcome(by_plain(setting, given) * -3.0, given.leaves)
    )


@BOTH
def test_each_item_takes_its_own_incoming_gradient(setting: Setting) -> None:
    """Otherwise a loss that weighs its tokens trains as if all weighed the same."""
    setting = replace(setting, reduction="none")
    given, incoming = material(setting), torch.tensor([0.0, 1.0, -2.0, 0.5, 7.0, 3.0], dtype=torch.float64)
    assert_same(
        outcome(by_fused(setting, given), given.leaves, incoming),
        outcome(by_plain(setting, given), given.leaves, incoming),
    )


@BOTH
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_graph_that_is_walked_twice_gives_the_same_twice(setting: Setting, weight: float) -> None:
    """Otherwise retain_graph=True, as loss balancing by gradients needs it, gives a second gradient that is wrong."""
    given = material(setting)
    value = weight * by_fused(setting, given)
    first = torch.autograd.grad(value, given.leaves, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(value, given.leaves)
    assert_same((value.detach(), list(second)), (value.detach(), kept), share=1e-14)


@pytest.mark.parametrize("trained", ["hidden", "weight", "bias"])
def test_frozen_parts_get_no_gradient_and_the_others_theirs(trained: str) -> None:
    """Otherwise a frozen or shared head cannot be used, or costs a gradient as large as itself."""
    given = material(SETTING)
    assert isinstance(given.student, Projected)
    parts = {name: getattr(given.student, name).detach() for name in ("hidden", "weight", "bias")}
    parts[trained].requires_grad_()
    frozen = replace(given, student=Projected(**parts))
    assert_same(
        outcome(by_fused(SETTING, frozen), [parts[trained]]), outcome(by_plain(SETTING, frozen), [parts[trained]])
    )
    assert all(tensor.grad is None for tensor in parts.values())


def test_without_a_graph_there_is_a_value_and_nothing_else() -> None:
    """Otherwise a validation step pays for gradients."""
    given = material(SETTING)
    with torch.no_grad():
        value = by_fused(SETTING, given)
    assert not value.requires_grad
    torch.testing.assert_close(value, by_plain(SETTING, given).detach())


def test_the_teacher_gets_no_gradient() -> None:
    """Otherwise the teacher is trained to agree with its student."""
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    student = torch.randn(3, 7, requires_grad=True)
    fused_divergence(student, Projected(hidden, weight)).backward()
    assert student.grad is not None
    assert hidden.grad is None
    assert weight.grad is None


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_model_trains_as_any_other(reentrant: bool) -> None:
    """Otherwise activation checkpointing, which large models need, gives other gradients or none."""
    body, head = nn.Linear(5, 4).double(), nn.Linear(4, 9).double()
    inputs = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, 9, dtype=torch.float64)

    def loss(inputs: Tensor) -> Tensor:
        return fused_divergence(Projected(torch.tanh(body(inputs)), head.weight, head.bias), teacher, chunk_size=2)

    leaves = [inputs, *body.parameters(), *head.parameters()]
    loss(inputs).backward()
    expected = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    checkpoint(loss, inputs, use_reentrant=reentrant).backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, gradient)


def test_a_tied_embedding_gets_the_gradients_of_both_its_uses() -> None:
    """Otherwise a model whose head is its embedding trains one of the two only."""
    embedding = nn.Embedding(9, 4).double()
    ids, teacher = torch.tensor([1, 5, 2]), torch.randn(3, 9, dtype=torch.float64)
    fused_divergence(Projected(embedding(ids), embedding.weight), teacher).backward()
    found, embedding.weight.grad = embedding.weight.grad, None
    fused_divergence(embedding(ids) @ embedding.weight.t(), teacher).backward()
    torch.testing.assert_close(found, embedding.weight.grad)
