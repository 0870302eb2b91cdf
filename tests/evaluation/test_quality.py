"""What goes wrong for a user when a score is computed wrongly; the oracles are scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.text import Perplexity

from knowledge_distillation.evaluation.quality import quality_for
from tests.training.toys import seeded

CPU = torch.device("cpu")


def in_pieces(task: str, scores: torch.Tensor, labels: torch.Tensor) -> object:
    sums = quality_for(task, scores.shape[-1], CPU)
    for part in torch.arange(len(scores)).split(7):
        sums.add(scores[part], labels[part])
    return sums


def test_classes_are_scored_as_scikit_learn_does() -> None:
    """Otherwise the table of the report disagrees with everybody else's."""
    scores, labels = torch.randn(60, 8, generator=seeded(1)), torch.randint(7, (60,), generator=seeded(2))
    sums = in_pieces("classification", scores, labels)
    found, predicted = sums.result(), scores.argmax(dim=1)
    assert found["metric"] == "accuracy"
    assert found["higher_is_better"]
    assert found["value"] == metrics.accuracy_score(labels, predicted)
    assert found["also"]["top_5_accuracy"] == metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(8))
    assert found["also"]["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-6)
    probs = scores.double().softmax(dim=1)
    assert found["also"]["nll"] == pytest.approx(metrics.log_loss(labels, probs, labels=range(8)), abs=1e-6)
    assert sums.confusion() == metrics.confusion_matrix(labels, predicted, labels=range(8)).tolist()
    recalls = metrics.recall_score(labels, predicted, average=None, labels=range(8), zero_division=np.nan)
    assert [items for items, _ in sums.per_class()] == np.bincount(labels, minlength=8).tolist()
    np.testing.assert_allclose([share for _, share in sums.per_class()], recalls)


def test_a_class_that_the_model_lacks_is_simply_wrong() -> None:
    """Otherwise a student with fewer classes crashes the evaluation, or is scored on the easy ones only."""
    sums = quality_for("classification", 4, CPU)
    sums.add(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 3]))
    assert sums.result()["value"] == 0.5
    assert sums.result()["also"]["nll"] == math.inf


def test_language_models_get_the_perplexity_of_the_tokens_that_count() -> None:
    """Otherwise a language model is ranked by something else than its likelihood."""
    scores, labels = 2 * torch.randn(40, 300, generator=seeded(1)), torch.randint(300, (40,), generator=seeded(2))
    found = in_pieces("language", scores, labels).result()
    oracle = Perplexity()
    oracle.update(scores[None], labels[None])
    assert found["metric"] == "perplexity"
    assert not found["higher_is_better"]
    assert found["value"] == pytest.approx(float(oracle.compute()), rel=1e-5)
    assert found["also"]["token_accuracy"] == metrics.accuracy_score(labels, scores.argmax(dim=1))


def test_independent_labels_are_decided_by_the_sign_even_if_all_logits_look_like_probabilities() -> None:
    """Otherwise logits that happen to lie within 0 to 1 are taken for probabilities and cut at 0.5."""
    scores = torch.rand(30, 4, generator=seeded(1)) - 0.3
    scores[:7] = scores[:7].abs()
    labels = torch.randint(2, (30, 4), generator=seeded(2))
    sums = in_pieces("multilabel", scores, labels)
    found, decided = sums.result(), (scores > 0).int()
    assert found["value"] == pytest.approx(metrics.f1_score(labels, decided, average="micro"), abs=1e-6)
    assert found["also"]["macro_f1"] == pytest.approx(metrics.f1_score(labels, decided, average="macro"), abs=1e-6)
    assert found["also"]["exact_match"] == pytest.approx(metrics.accuracy_score(labels, decided), abs=1e-6)
    assert found["also"]["label_accuracy"] == pytest.approx(float((labels == decided).double().mean()))
    assert [items for items, _ in sums.per_class()] == labels.sum(dim=0).tolist()


@pytest.mark.parametrize("numbers", [1, 3])
def test_numbers_are_scored_as_scikit_learn_does(numbers: int) -> None:
    """Otherwise a regression student's error is in the wrong units."""
    scores = 50 + torch.randn(40, numbers, generator=seeded(1))
    labels = scores + torch.randn(40, numbers, generator=seeded(2)) / 2
    found = in_pieces("regression", scores, labels).result()
    assert found["value"] == pytest.approx(metrics.mean_squared_error(labels, scores), rel=1e-6)
    assert found["also"]["mae"] == pytest.approx(metrics.mean_absolute_error(labels, scores), rel=1e-6)
    assert found["also"]["rmse"] == pytest.approx(math.sqrt(found["value"]))
    assert found["also"]["r2"] == pytest.approx(metrics.r2_score(labels, scores), rel=1e-5)


@pytest.mark.parametrize("task", ["classification", "language", "multilabel", "regression"])
def test_nothing_scored_is_no_score(task: str) -> None:
    """Otherwise an evaluation without labels reports 0 as if it had been measured."""
    sums = quality_for(task, 6, CPU)
    assert math.isnan(sums.result()["value"])
    assert sums.per_class() is None
    assert sums.confusion() is None
