"""What goes wrong for a user when an optimiser is not the one that was named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import Parameter

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.optimizers import OPTIMIZERS, check_optimizer, make_optimizer
from tests.training.toys import seeded

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
STATED = {
    "adam": (torch.optim.Adam, ADAM),
    "sgd": (torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False, "dampening": 0.0}),
    "adam_wav2vec2.0": (torch.optim.Adam, {**ADAM, "betas": (0.9, 0.98), "eps": 1e-6}),
    "adam_distilBert": (torch.optim.Adam, {**ADAM, "eps": 1e-6}),
    "adamW_distilBert": (torch.optim.AdamW, {**ADAM, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}),
    "adamw": (torch.optim.AdamW, {**ADAM, "weight_decay": 0.01}),
    "sgd_momentum": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, "dampening": 0.0}),
}
NOT_BY_RATE_ALONE = {"Optimizer", "SparseAdam", "Muon"}
CLASSES = [
    value
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in NOT_BY_RATE_ALONE
]


def weights() -> list[Parameter]:
    return [Parameter(torch.tensor([1.0, -2.0])), Parameter(torch.tensor([0.5]))]


def test_every_name_is_stated_here() -> None:
    """Otherwise a name is added whose settings nobody checks."""
    assert set(OPTIMIZERS) == set(STATED)


@pytest.mark.parametrize("name", STATED)
def test_a_name_stands_for_the_stated_class_and_settings(name: str) -> None:
    """Otherwise a run cannot be compared with the paper or with the original toolkit."""
    kind, settings = STATED[name]
    optimizer = make_optimizer(name, weights(), learning_rate=0.02)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in settings} == settings
    assert group["lr"] == 0.02
    assert len(group["params"]) == 2


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_any_torch_class_steps_as_torch_alone_steps_it(kind: type[torch.optim.Optimizer]) -> None:
    """Otherwise only the names of our list can be used."""
    ours, theirs = weights(), weights()
    pairs = [(make_optimizer(kind, ours, learning_rate=0.1), ours), (kind(theirs, lr=0.1), theirs)]
    for optimizer, parameters in pairs:
        for _ in range(3):

            def closure(optimizer: Any = optimizer, parameters: Any = parameters) -> torch.Tensor:
                optimizer.zero_grad()
                loss = sum(parameter.square().sum() for parameter in parameters)
                loss.backward()
                return loss

            optimizer.step(closure)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
        assert not torch.equal(mine, weights()[0 if mine.numel() == 2 else 1])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimiser_for_matrices_only_is_accepted_for_a_model_of_matrices() -> None:
    """Otherwise Muon is refused for every model, because the check tries it on a vector."""
    model = nn.Linear(3, 2, bias=False)
    check_optimizer(torch.optim.Muon)
    assert isinstance(make_optimizer(torch.optim.Muon, model.parameters(), learning_rate=0.1), torch.optim.Muon)


def test_a_mapping_gives_settings_and_leaves_the_users_mapping_alone() -> None:
    """Otherwise a second run with the same dict has lost its name."""
    wanted = {"name": "sgd", "momentum": 0.8, "weight_decay": 1e-4}
    optimizer = make_optimizer(wanted, weights(), learning_rate=0.1)
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4
    assert wanted == {"name": "sgd", "momentum": 0.8, "weight_decay": 1e-4}
    by_class = make_optimizer({"name": torch.optim.RMSprop, "alpha": 0.5}, weights(), learning_rate=0.1)
    assert by_class.param_groups[0]["alpha"] == 0.5


def test_a_users_callable_may_make_groups() -> None:
    """Otherwise two learning rates for backbone and head are out of reach."""

    def two_rates(parameters: Any, lr: float) -> torch.optim.Optimizer:
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr": lr / 10}, {"params": rest}], lr=lr)

    optimizer = make_optimizer(two_rates, weights(), learning_rate=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]
    check_optimizer(two_rates)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adm", r"'adm'.*Did you mean 'adam"),
        ("SGD", r"'SGD'.*'sgd'"),
        ({"name": "sgdm"}, r"'sgdm'.*'sgd_momentum'"),
        ({"momentum": 0.9}, "a mapping with 'name'"),
        (None, "a torch.optim class; got None"),
        (3, "a torch.optim class; got 3"),
        ({"name": "sgd", "momntum": 0.9}, r"momntum.*'momentum'"),
        ({"name": "sgd", "momentum": -1}, "Invalid momentum"),
        ({"name": "adam", "lr": 0.1}, "lr"),
    ],
    ids=repr,
)
def test_a_wrong_optimiser_is_refused_with_what_it_takes(optimizer: Any, message: str) -> None:
    """Otherwise the mistake is found after the data and the teacher were loaded."""
    with pytest.raises(ConfigError, match=message):
        check_optimizer(optimizer)


def test_the_check_draws_no_random_number() -> None:
    """Otherwise building a module changes the student's initial weights."""
    torch.manual_seed(5)
    check_optimizer("adamw")
    after = torch.rand(3)
    assert torch.equal(after, torch.rand(3, generator=seeded(5)))
