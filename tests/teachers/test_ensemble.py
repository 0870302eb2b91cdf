"""What goes wrong for a user when several teachers are not the mean of what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.teachers import EnsembleTeacher
from tests.training.toys import CLASSES, FEATURES, Difficult, flags, identical, loader, mlp, quiet_trainer, snapshot

CPU = torch.device("cpu")
INPUTS = torch.linspace(-2, 2, 30).reshape(6, FEATURES)


def softmax(scores: Any) -> Any:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def said(model: nn.Module) -> Any:
    with torch.no_grad():
        return model(INPUTS).double().numpy()


def asked(teacher: Any) -> Any:
    teacher.prepare(CPU)
    signals = teacher.signals((INPUTS, None))
    teacher.release()
    assert not signals.logits.requires_grad
    return signals


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 6.0)])
def test_probabilities_are_averaged_at_the_temperature(temperature: float, weights: Any) -> None:
    """Otherwise the student learns from a distribution that no reader of the paper would recognise."""
    models = [mlp(seed) for seed in (1, 2, 3)]
    shares = np.array(weights or (1.0, 1.0, 1.0)) / sum(weights or (1.0, 1.0, 1.0))
    expected = sum(share * softmax(said(model) / temperature) for share, model in zip(shares, models, strict=True))
    answer = asked(EnsembleTeacher(models, weights, temperature=temperature))
    np.testing.assert_allclose(softmax(answer.logits.double().numpy() / temperature), expected, rtol=1e-5)
    np.testing.assert_allclose(answer.log_probs.double().exp().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_logits_are_averaged_as_they_are(weights: Any) -> None:
    """Otherwise a loss on scores, such as logit_mse, follows scores that are off by a constant or a factor."""
    models = [mlp(1), mlp(2)]
    answer = asked(EnsembleTeacher(models, weights, combine="logits", temperature=4.0))
    expected = np.average([said(model) for model in models], axis=0, weights=weights)
    np.testing.assert_allclose(answer.logits.double().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_class_that_every_teacher_rules_out_stays_finite() -> None:
    """Otherwise very sure teachers give a probability of 0, whose logarithm is -inf, and the loss is NaN."""
    models = [nn.Linear(FEATURES, CLASSES) for _ in range(2)]
    for model in models:
        nn.init.zeros_(model.weight)
        with torch.no_grad():
            model.bias.copy_(torch.tensor([0.0, -500.0, 3.0]))
    answer = asked(EnsembleTeacher(models)).logits
    torch.testing.assert_close(answer.diff(dim=-1), torch.tensor([[-500.0, 503.0]]).expand(6, 2))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"weights": (1.0,)}, "one weight for each of the 2"),
        ({"weights": (1.0, 0.0)}, "above 0"),
        ({"weights": (1.0, float("nan"))}, "above 0"),
        ({"combine": "logit"}, "'logits'"),
        ({"temperature": 0.0}, "temperature"),
        ({"teachers": []}, "At least 1"),
    ],
)
def test_settings_that_cannot_work_are_named(changed: dict[str, Any], complaint: str) -> None:
    """Otherwise a member silently counts nothing, or the run fails far from its cause."""
    with pytest.raises(ConfigError, match=complaint):
        EnsembleTeacher(**{"teachers": [mlp(1), mlp(2)], **changed})


def test_teachers_of_other_classes_are_refused() -> None:
    """Otherwise a teacher of one class is stretched over all of them, and the mean means nothing."""
    with pytest.raises(ShapeError, match=r"\(6, 3\), \(6, 1\)"):
        asked(EnsembleTeacher([mlp(1), nn.Linear(FEATURES, 1)]))


def test_the_fingerprint_follows_members_and_weights() -> None:
    """Otherwise answers that were cached for another ensemble are taken for this one's."""
    changed = EnsembleTeacher([mlp(1), mlp(3)]), EnsembleTeacher([mlp(1), mlp(2)], (1, 2))
    same = EnsembleTeacher([mlp(1), mlp(2)]), EnsembleTeacher([mlp(1), mlp(2)], (2, 2))
    assert same[0].fingerprint == same[1].fingerprint
    assert len({teacher.fingerprint for teacher in (*changed, same[0])}) == 3


def test_training_leaves_every_member_bit_identical() -> None:
    """Otherwise the members drift while they teach: batch statistics, weights, modes or gradient flags."""
    members = [Difficult(seed) for seed in (7, 8)]
    before = [(snapshot(model), flags(model)) for model in members]
    student = mlp()
    start = snapshot(student)
    module = DistillationModule(student, EnsembleTeacher(members), learning_rate=1e-2)
    quiet_trainer(max_epochs=2).fit(module, loader())
    for model, (weights, modes) in zip(members, before, strict=True):
        assert identical(snapshot(model), weights)
        assert flags(model) == modes
        assert all(parameter.grad is None for parameter in model.parameters())
    assert not identical(snapshot(student), start)


def test_the_student_cannot_be_a_member_of_its_own_teacher() -> None:
    """Otherwise the teacher changes with every step, and the student follows itself."""
    student = mlp(1)
    with pytest.raises(ConfigError, match="shares trainable parameters"):
        DistillationModule(student, EnsembleTeacher([student, mlp(2)]))
