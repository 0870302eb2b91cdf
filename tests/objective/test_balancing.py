"""What goes wrong for a user when automatic weights are not what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import DistillationModule
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import Objective, as_objective
from knowledge_distillation.objective.balancing import GradientNormBalance, UncertaintyBalance
from tests.training.toys import loader, mlp, quiet_trainer


def parts(weight: Tensor) -> dict[str, Tensor]:
    """Three terms whose gradients with respect to [2.0] are 1, 10 and 100 long."""
    return {"a": weight.sum(), "b": 10 * weight.sum(), "c": 25 * weight.square().sum()}


def test_gradient_norm_makes_every_term_pull_equally_hard() -> None:
    """Otherwise the loudest term decides, which is what balancing was asked to prevent."""
    weight = nn.Parameter(torch.tensor([2.0]))
    total, factors = GradientNormBalance(["a", "b", "c"])(parts(weight), [weight])
    lengths = np.array([1.0, 10.0, 100.0])
    expected = np.exp(np.log(lengths).mean()) / lengths
    assert [float(factors[name]) for name in "abc"] == pytest.approx(expected.tolist(), rel=1e-5)
    (gradient,) = torch.autograd.grad(total, weight)
    assert float(gradient) == pytest.approx(3 * np.exp(np.log(lengths).mean()), rel=1e-5)


def test_factors_are_smoothed_and_measured_as_often_as_asked() -> None:
    """Otherwise weights jump with every batch, or each step costs a backward pass a term."""
    weight = nn.Parameter(torch.tensor([2.0]))
    balance = GradientNormBalance(["a", "b"], every=2, smoothing=0.75)
    seen = []
    for scale in (1.0, 5.0, 100.0, 100.0):
        _, factors = balance({"a": weight.sum(), "b": scale * weight.sum()}, [weight])
        seen.append(float(factors["b"]))
    assert seen == pytest.approx([1.0, 1.0, 0.75 + 0.25 * 0.1, 0.75 + 0.25 * 0.1], rel=1e-5)


def test_validation_does_not_put_off_the_first_measurement() -> None:
    """Otherwise a run that validates first trains for many steps with weights that nobody chose."""
    weight = nn.Parameter(torch.tensor([2.0]))
    balance = GradientNormBalance(["a", "b", "c"], every=50)
    with torch.no_grad():
        balance(parts(weight), [weight])
    _, factors = balance(parts(weight), [weight])
    assert float(factors["a"]) == pytest.approx(10.0, rel=1e-5)


def test_a_term_without_gradient_keeps_its_factor() -> None:
    """Otherwise one silent term makes all factors infinite or NaN."""
    weight = nn.Parameter(torch.tensor([2.0]))
    terms = {"a": weight.sum(), "still": 0 * weight.sum(), "b": 100 * weight.sum()}
    _, factors = GradientNormBalance(list(terms))(terms, [weight])
    assert [float(factor) for factor in factors.values()] == pytest.approx([10.0, 1.0, 0.1], rel=1e-5)


def test_factors_survive_a_checkpoint() -> None:
    """Otherwise a resumed run starts with other weights."""
    weight = nn.Parameter(torch.tensor([2.0]))
    first, second = (GradientNormBalance(["a", "b", "c"]) for _ in range(2))
    first(parts(weight), [weight])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.factors, second.factors)
    assert second.calls == 1


def test_uncertainty_is_the_papers_sum_and_is_learned() -> None:
    """Otherwise the weights do not move, or move to a minimum of the logarithms alone."""
    balance = UncertaintyBalance(["a", "b"])
    with torch.no_grad():
        balance.log_variances.copy_(torch.tensor([0.5, -1.0]))
    total, factors = balance({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, [])
    assert float(total.detach()) == pytest.approx(math.exp(-0.5) * 2 + math.exp(1) * 3 + 0.5 - 1)
    assert float(factors["b"]) == pytest.approx(math.e)
    total.backward()
    assert balance.log_variances.grad.tolist() == pytest.approx([1 - 2 * math.exp(-0.5), 1 - 3 * math.e])


@pytest.mark.parametrize("balance", ["gradient_norm", "uncertainty"])
def test_training_balances_and_logs_the_factors(balance: str) -> None:
    """Otherwise the option is accepted and does nothing, or the user cannot see what it chose."""
    objective = as_objective({"kd": 1.0, "cross_entropy": 1.0, "balance": balance})
    module = DistillationModule(mlp(1), mlp(9), objective, learning_rate=0.1)
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(module, loader())
    logged = trainer.callback_metrics
    assert {"weight_kd", "weight_cross_entropy"} <= logged.keys()
    assert float(logged["weight_kd"]) != 1.0


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"kd": 1.0, "cross_entropy": 1.0, "balance": "gradnorm"}, r"no balance named 'gradnorm'.*'gradient_norm'"),
        ({"kd": 1.0, "cross_entropy": 0, "balance": "uncertainty"}, "at least two weighted terms"),
    ],
)
def test_a_wrong_balance_is_refused(terms: dict[str, object], message: str) -> None:
    """Otherwise the terms stay unbalanced after a typing error."""
    with pytest.raises(ConfigError, match=message):
        as_objective(terms)
    with pytest.raises(ConfigError, match="at least 1"):
        GradientNormBalance(["a", "b"], every=0)


def test_without_a_balance_there_is_none() -> None:
    """Otherwise plain weights are changed behind the user's back."""
    assert Objective({"kd": 1.0, "cross_entropy": 1.0}).balance is None
