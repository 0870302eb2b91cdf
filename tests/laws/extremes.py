"""Where a loss meets numbers that random inputs do not reach, and gradients that differences cannot check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses.features.at import attention_map
from knowledge_distillation.losses.features.kdsvd import kdsvd
from knowledge_distillation.losses.logits.dist import dist
from knowledge_distillation.losses.logits.label_smoothing_teacher import label_smoothing_teacher
from knowledge_distillation.losses.logits.logit_mse import logit_mse
from knowledge_distillation.losses.sequences.adaptive_kl import adaptive_kl
from tests.laws.memories import random

Check = Callable[[], None]


def assert_same(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(found.detach().double(), torch.as_tensor(expected).double(), rtol=1e-6, atol=1e-9)


def both_divergences_train() -> None:
    """The weights are constants of the gradient; the two divergences that they weigh are not."""
    student, teacher = random(3, 5, seed=1).requires_grad_(), random(3, 5, seed=2)
    adaptive_kl(student, teacher, reduction="sum").backward()  # type: ignore[no-untyped-call]
    expected = []
    for ours, theirs in zip(student.detach().numpy(), teacher.numpy(), strict=True):
        p_student, p_teacher = softmax(ours), softmax(theirs)
        order = np.argsort(-p_teacher)
        head = order[: max(1, int((p_teacher[order].cumsum() <= 0.5).sum()))]
        weight = np.abs(p_teacher - p_student)[head].sum() / np.abs(p_teacher - p_student).sum()
        gaps = log_softmax(ours) - log_softmax(theirs)
        reverse = p_student * (gaps - rel_entr(p_student, p_teacher).sum())
        expected.append(weight * (p_student - p_teacher) + (1 - weight) * reverse)
    assert student.grad is not None
    assert_same(student.grad, np.array(expected))


def attention_of_large_and_small_maps() -> None:
    """Values whose squares leave float32, all of them negative, look where their multiples look."""
    features = -random(2, 3, 4, 4, seed=1).abs().float() - 0.1
    for scale in (1e25, 1e-25):
        assert_same(attention_map(scale * features), attention_map(features))


def directions_of_large_and_small_maps() -> None:
    """Singular vectors of maps whose squares leave float32 are those of their multiples."""
    student, teacher = ([random(2, 3, 4, 4, seed=seed + side).float() for seed in (1, 2)] for side in (0, 5))
    expected = kdsvd(student, teacher)
    for scale in (1e25, 1e-25):
        found = kdsvd([scale * stage for stage in student], teacher)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def small_differences_at_low_temperature() -> None:
    """Near-certain answers of two items still rank them: the student's order is the opposite of the teacher's."""
    student, teacher = torch.tensor([[10.0, 0.0], [12.0, 0.0]]), torch.tensor([[12.0, 0.0], [10.0, 0.0]])
    found = dist(student, teacher, temperature=0.5, inter_weight=0.0, eps=1e-25)
    torch.testing.assert_close(found.double(), torch.tensor(2.0 * 0.5**2, dtype=torch.float64), rtol=1e-3, atol=0.0)


def only_one_class_is_possible() -> None:
    """Where one class is left, the smoothed teacher is sure of it, and so is the student."""
    logits = torch.tensor([[1.0, -torch.inf, -torch.inf]])
    assert_same(label_smoothing_teacher(logits, labels=torch.tensor([0]), label_smoothing=0.1), 0.0)


def a_class_that_one_side_excludes() -> None:
    """A class at -inf on either side has no finite difference: it adds nothing, and its gradient is 0."""
    finite, cut = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, -torch.inf]])
    for ours, theirs in ((finite, cut), (cut, finite)):
        student = ours.clone().requires_grad_()
        value = logit_mse(student, theirs)
        value.backward()  # type: ignore[no-untyped-call]
        assert_same(value, 2.0)
        assert student.grad is not None
        assert_same(student.grad[:, 1], [0.0])


EXTREMES: Mapping[str, tuple[Check, ...]] = {
    "adaptive_kl": (both_divergences_train,),
    "at": (attention_of_large_and_small_maps,),
    "kdsvd": (directions_of_large_and_small_maps,),
    "dist": (small_differences_at_low_temperature,),
    "label_smoothing_teacher": (only_one_class_is_possible,),
    "logit_mse": (a_class_that_one_side_excludes,),
}
