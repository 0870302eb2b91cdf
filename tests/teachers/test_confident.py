"""What goes wrong for a user when teachers are trusted where they should not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.teachers import ConfidentTeacher
from knowledge_distillation.teachers.confident import confidence_weights
from tests.teachers.test_ensemble import CPU, INPUTS, asked, said, softmax
from tests.training.toys import Difficult, flags, identical, loader, mlp, quiet_trainer, snapshot

LABELS = np.array([0, 2, 1, -100, 1, 0])


def closed_form(scores: list[Any], labels: Any) -> Any:
    """Sample by sample as CA-MKD writes it: shape [teachers, samples]."""
    weights = np.empty((len(scores), len(scores[0])))
    for place in range(len(scores[0])):
        doubts = []
        for one in scores:
            chances = softmax(one[place])
            known = labels is not None and labels[place] != -100
            doubts.append(-np.log(chances[labels[place]]) if known else -(chances * np.log(chances)).sum())
        weights[:, place] = (1 - np.exp(doubts) / np.exp(doubts).sum()) / (len(scores) - 1)
    return weights


@pytest.mark.parametrize("by", ["labels", "entropy"])
@pytest.mark.parametrize("count", [2, 3])
def test_the_answer_is_the_mean_with_the_weights_of_the_paper(by: Any, count: int) -> None:
    """Otherwise the teacher that is wrong on a sample counts as much as the one that is right."""
    models = [mlp(seed) for seed in range(1, count + 1)]
    scores = [said(model) for model in models]
    weights = closed_form(scores, LABELS if by == "labels" else None)
    expected = sum(weight[:, None] * softmax(one / 4) for weight, one in zip(weights, scores, strict=True))
    teacher = ConfidentTeacher(models, by, temperature=4.0)
    teacher.prepare(CPU)
    answer = teacher.signals((INPUTS, torch.from_numpy(LABELS)))
    teacher.release()
    assert np.ptp(weights) > 0.01
    np.testing.assert_allclose(softmax(answer.logits.double().numpy() / 4), expected, rtol=1e-5)


def test_batches_without_labels_are_weighed_by_entropy() -> None:
    """Otherwise unlabelled data, for which distillation is made, cannot be used."""
    models = [mlp(1), mlp(2)]
    scores = [said(model) for model in models]
    weights = closed_form(scores, None)
    expected = sum(weight[:, None] * softmax(one) for weight, one in zip(weights, scores, strict=True))
    answer = asked(ConfidentTeacher(models)).logits
    np.testing.assert_allclose(softmax(answer.double().numpy()), expected, rtol=1e-5)


def test_weights_sum_to_one_and_stay_finite_for_teachers_beyond_doubt() -> None:
    """Otherwise a teacher with a probability of exactly 0 makes the loss NaN."""
    scores = [torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[float("-inf"), 0.0, 0.0]]), torch.zeros(1, 3)]
    weights = confidence_weights(scores, None).squeeze()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    raised = np.array([1.0, 2.0, 3.0])  # exp of the entropies 0, log 2 and log 3
    np.testing.assert_allclose(weights.numpy(), (1 - raised / raised.sum()) / 2, rtol=1e-5)


def test_what_cannot_work_is_named() -> None:
    """Otherwise one teacher divides by 0, and a mistyped setting is taken for another."""
    with pytest.raises(ConfigError, match="At least 2"):
        ConfidentTeacher([mlp()])
    with pytest.raises(ConfigError, match="'entropy'"):
        ConfidentTeacher([mlp(1), mlp(2)], "entropi")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"labels must have shape \(4,\).*got \(3,\)"):
        confidence_weights([torch.zeros(4, 3)] * 2, torch.zeros(3, dtype=torch.long))


def test_training_leaves_every_member_bit_identical() -> None:
    """Otherwise the members drift while they teach: batch statistics, weights, modes or gradient flags."""
    members = [Difficult(seed) for seed in (7, 8)]
    before = [(snapshot(model), flags(model)) for model in members]
    quiet_trainer(max_epochs=2).fit(DistillationModule(mlp(), ConfidentTeacher(members), "kd"), loader())
    for model, (weights, modes) in zip(members, before, strict=True):
        assert identical(snapshot(model), weights)
        assert flags(model) == modes
