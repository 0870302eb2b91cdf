"""What goes wrong for a user whose batch holds padding, impossible classes, or nothing at all."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses import (
    FusedDivergence,
    Projected,
    TopK,
    cross_entropy,
    forward_kl,
    fused_divergence,
)
from tests.kernels.setting import DIVERGENCES, Head, Setting, by_fused, material

HEADS = pytest.mark.parametrize("head", [Head(bias=True), Head(projected=False)], ids=["projected", "logits"])


@HEADS
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_batch_of_padding_gives_zero(head: Head, reduction: str) -> None:
    """Otherwise one batch without an answer makes every weight NaN."""
    setting = Setting(student=head, teacher=head, hard_weight=0.5, reduction=reduction)
    given = material(setting)
    nothing = torch.zeros(setting.items, dtype=torch.bool)
    value = by_fused(setting, type(given)(**{**vars(given), "mask": nothing}))
    value.sum().backward()
    assert (value == 0).all()
    assert all(leaf.grad is not None and (leaf.grad == 0).all() for leaf in given.leaves)


@HEADS
def test_what_padding_holds_is_never_looked_at(head: Head) -> None:
    """Otherwise NaN at padded tokens, which attention may leave there, ends a training."""
    setting = Setting(student=head, teacher=head, items=(4,))
    given = material(setting)
    for side in (given.student, given.teacher):
        with torch.no_grad():
            (side.hidden if isinstance(side, Projected) else side)[1:3] = torch.nan
    mask = torch.tensor([True, False, False, True])
    value = by_fused(setting, type(given)(**{**vars(given), "mask": mask}))
    value.backward()
    assert value.isfinite()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in given.leaves)


def test_unlabelled_tokens_count_for_the_teacher_only() -> None:
    """Otherwise prompts, which have no label, are trained on, or leave the teacher's mean."""
    student, teacher = torch.randn(2, 4, 9)
    labels = torch.tensor([3, -100, 8, -100])
    found = fused_divergence(student, teacher, labels=labels, hard_weight=0.5, soft_weight=2.0)
    expected = 2.0 * forward_kl(student, teacher) + 0.5 * cross_entropy(student, labels=labels)
    torch.testing.assert_close(found, expected)
    nothing = torch.full((4,), -7)
    alone = fused_divergence(student, teacher, labels=nothing, hard_weight=0.5, ignore_index=-7)
    torch.testing.assert_close(alone, forward_kl(student, teacher))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_impossible_classes_leave_everything_finite(divergence: Any, dtype: torch.dtype) -> None:
    """Otherwise a vocabulary that is padded to a round number makes the loss NaN."""
    student, teacher = torch.randn(2, 3, 9)
    student[:, 7:] = teacher[:, 7:] = -torch.inf
    student = student.to(dtype).requires_grad_()
    value = fused_divergence(student, teacher.to(dtype), divergence=divergence)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert (student.grad[:, 7:] == 0).all()


def test_a_class_that_only_the_teacher_may_say_gets_no_gradient() -> None:
    """Otherwise weights of a class that the student's head forbids are pushed without end."""
    hidden, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    bias = torch.tensor([0.0, 0.0, 0.0, 0.0, -torch.inf])
    teacher = torch.randn(3, 5)
    fused_divergence(Projected(hidden, weight, bias), teacher).backward()
    assert weight.grad is not None
    assert (weight.grad[4] == 0).all()
    found, weight.grad = weight.grad, None
    forward_kl(hidden @ weight.t() + bias, teacher).backward()
    torch.testing.assert_close(found, weight.grad)


def test_the_students_logits_are_left_as_they_are() -> None:
    """Otherwise what comes after the loss, a metric or another term, sees gradients in the place of logits."""
    student, teacher = torch.randn(2, 3, 9)
    student.requires_grad_()
    before = student.detach().clone(), teacher.clone()
    fused_divergence(student, teacher).backward()
    assert torch.equal(student.detach(), before[0])
    assert torch.equal(teacher, before[1])


SPARSE = TopK(indices=torch.zeros(3, 2, dtype=torch.long), log_probs=torch.zeros(3, 2), temperature=2.0)
REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "divergence": ({"divergence": "kl"}, ConfigError, "divergence must be one of 'forward_kl'"),
    "backend": ({"backend": "cuda"}, ConfigError, "backend must be one of 'auto'"),
    "no labels": ({"hard_weight": 1.0}, ConfigError, "labels are needed"),
    "labels": ({"hard_weight": 1.0, "labels": torch.zeros(2, dtype=torch.long)}, ShapeError, "labels must have shape"),
    "weight": ({"soft_weight": -1.0}, ConfigError, "soft_weight must be"),
    "chunk": ({"chunk_size": 0}, ConfigError, "chunk_size must be a whole number of items"),
    "reduction": ({"reduction": "batchmean"}, ConfigError, "reduction must be"),
    "mask": ({"mask": torch.ones(3, 9)}, ShapeError, "mask must have one entry per item"),
    "classes": ({"teacher": torch.zeros(3, 10)}, ShapeError, "items and classes of student"),
    "sparse": ({"teacher": SPARSE}, ConfigError, "made at 2.0"),
    "sparse items": (
        {"teacher": TopK(indices=SPARSE.indices[:2], log_probs=SPARSE.log_probs[:2])}, ShapeError, "student's items",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_meant_is_refused(case: str) -> None:
    """Otherwise it is broadcast or ignored, and another loss is trained without a word."""
    options, kind, message = REFUSALS[case]
    with pytest.raises(kind, match=re.escape(message)):
        fused_divergence(torch.zeros(3, 9), **{"teacher": torch.zeros(3, 9), **options})


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"weight": torch.zeros(9, 5)}, ShapeError, "weight must be [classes, width]"),
        ({"bias": torch.zeros(4)}, ShapeError, "bias must have one entry per class"),
        ({"softcap": 0.0}, ConfigError, "softcap must be"),
        ({"scale": 0.0}, ConfigError, "scale must be"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Otherwise torch complains about a product of matrices that the user never wrote."""
    with pytest.raises(kind, match=re.escape(message)):
        Projected(**{"hidden": torch.zeros(3, 4), "weight": torch.zeros(9, 4), **options})


def test_the_module_hands_all_its_settings_over() -> None:
    """Otherwise a recipe's setting is read and then ignored."""
    student, teacher, labels = torch.randn(3, 9), torch.randn(3, 9), torch.tensor([1, 2, 7])
    settings: dict[str, Any] = {"divergence": "generalized_jsd", "beta": 0.2, "hard_weight": 0.5, "ignore_index": 7}
    found = FusedDivergence(**settings)(student, teacher, labels=labels)
    assert torch.equal(found, fused_divergence(student, teacher, labels=labels, **settings))
