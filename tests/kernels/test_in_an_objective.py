"""What goes wrong for a user who names the fused loss in an objective."""

from __future__ import annotations

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import Projected, TopK, cross_entropy, forward_kl
from knowledge_distillation.objective import Objective
from knowledge_distillation.signals import Signals

STUDENT, TEACHER = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 2, 3, 8])
MIXED = {"fused": {"loss": "fused_divergence", "hard_weight": 0.5}}


def test_the_labels_of_the_batch_reach_the_mix() -> None:
    """Otherwise a mix in a recipe stops for want of labels that are there."""
    total, _ = Objective(MIXED)(Signals(logits=STUDENT, labels=LABELS), Signals(logits=TEACHER))
    torch.testing.assert_close(total, forward_kl(STUDENT, TEACHER) + 0.5 * cross_entropy(STUDENT, labels=LABELS))


def test_without_labels_only_a_mix_is_refused() -> None:
    """Otherwise unlabelled text cannot be trained on, or the mix drops a half without a word."""
    student, teacher = Signals(logits=STUDENT), Signals(logits=TEACHER)
    total, _ = Objective({"fused_divergence": 1.0})(student, teacher)
    torch.testing.assert_close(total, forward_kl(STUDENT, TEACHER))
    with pytest.raises(ConfigError, match="labels"):
        Objective(MIXED)(student, teacher)


def test_hidden_states_stand_in_for_logits() -> None:
    """Otherwise an adapter that never makes logits cannot be trained by an objective."""
    hidden, weight = torch.randn(4, 3), torch.randn(9, 3)
    mask = torch.tensor([True, True, False, True])
    student = Signals(logits=Projected(hidden, weight), mask=mask)
    total, _ = Objective({"fused_divergence": 1.0})(student, Signals(logits=TEACHER))
    torch.testing.assert_close(total, forward_kl(hidden @ weight.t(), TEACHER, mask=mask))


def test_a_sparse_teacher_is_taken() -> None:
    """Otherwise a cache of top k cannot teach through the fused loss."""
    total, _ = Objective({"fused_divergence": 1.0})(
        Signals(logits=STUDENT), Signals(logits=TopK.from_logits(TEACHER, 9))
    )
    torch.testing.assert_close(total, forward_kl(STUDENT, TEACHER))
