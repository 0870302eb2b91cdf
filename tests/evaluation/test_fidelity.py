"""What goes wrong for a user when likeness to the teacher is computed wrongly; the oracles are SciPy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax

from knowledge_distillation.evaluation.fidelity import Fidelity
from tests.training.toys import seeded

CPU = torch.device("cpu")


def faithful(task: str, scores: torch.Tensor, teacher: torch.Tensor) -> dict:
    sums = Fidelity(task, CPU)
    for part in torch.arange(len(scores)).split(7):
        sums.add(scores[part], teacher[part])
    return sums.result()


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_classes_against_scipy(classes: int) -> None:
    """Otherwise a student that left its teacher looks faithful."""
    student, teacher = (3 * torch.randn(40, classes, generator=seeded(seed)) for seed in (1, 2))
    found = faithful("classification", student, teacher)
    ours, theirs = softmax(student.double().numpy(), axis=1), softmax(teacher.double().numpy(), axis=1)
    assert found["kl"] == pytest.approx(rel_entr(theirs, ours).sum(axis=1).mean(), rel=1e-5)
    assert found["agreement"] == pytest.approx((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    k = found["top_k_overlap"]["k"]
    assert k == {2: 1, 3: 1, 12: 5}[classes]
    shared = [
        len({*np.argsort(-one)[:k].tolist()} & {*np.argsort(-other)[:k].tolist()}) / k
        for one, other in zip(ours, theirs, strict=True)
    ]
    assert found["top_k_overlap"]["value"] == pytest.approx(np.mean(shared))
    assert found["items"] == 40


def test_a_copy_of_the_teacher_is_perfectly_faithful() -> None:
    """Otherwise an export that is equal to its student seems to have changed."""
    teacher = 1e3 * torch.randn(20, 7, generator=seeded(1))
    found = faithful("classification", teacher.clone(), teacher)
    assert (found["agreement"], found["kl"], found["top_k_overlap"]["value"]) == (1, 0, 1)


def test_classes_that_only_one_of_them_has_are_left_out_of_the_divergence() -> None:
    """Otherwise a vocabulary padded to a round number makes the divergence infinite, or crashes."""
    student, teacher = torch.randn(9, 6, generator=seeded(1)), torch.randn(9, 4, generator=seeded(2))
    found = faithful("classification", student, teacher)
    ours, theirs = softmax(student[:, :4].double().numpy(), axis=1), softmax(teacher.double().numpy(), axis=1)
    assert found["kl"] == pytest.approx(rel_entr(theirs, ours).sum(axis=1).mean(), rel=1e-5)
    assert found["agreement"] == pytest.approx(float((student.argmax(1) == teacher.argmax(1)).double().mean()))


def test_independent_labels_are_compared_one_by_one() -> None:
    """Otherwise a softmax is laid over labels that exclude nothing."""
    student, teacher = (3 * torch.randn(20, 4, generator=seeded(seed)) for seed in (1, 2))
    found = faithful("multilabel", student, teacher)
    ours, theirs = expit(student.double().numpy()), expit(teacher.double().numpy())
    oracle = (rel_entr(theirs, ours) + rel_entr(1 - theirs, 1 - ours)).sum(axis=1).mean()
    assert found["kl"] == pytest.approx(oracle, rel=1e-6)
    assert found["agreement"] == pytest.approx(((ours > 0.5) == (theirs > 0.5)).mean())
    assert found["top_k_overlap"] is None


def test_numbers_have_a_mean_squared_difference_and_nothing_else() -> None:
    """Otherwise a regression shows an agreement of 0 as if it had failed."""
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [4.0]])
    found = faithful("regression", student, teacher)
    assert found["mse"] == pytest.approx((0.25 + 4) / 2)
    assert (found["agreement"], found["kl"], found["top_k_overlap"]) == (None, None, None)
