"""D. Optimisers: statements 27 to 32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer

from tests.contract.toy import BATCHES, ROWS, Student, Teacher, inputs_loader, same, train, weights

# the contract's own table: class, betas, eps, weight decay
ADAMS: dict[str, tuple[type[Optimizer], tuple[float, float], float, float]] = {
    "adam": (Adam, (0.9, 0.999), 1e-8, 0),
    "adam_wav2vec2.0": (Adam, (0.9, 0.98), 1e-6, 0),
    "adam_distilBert": (Adam, (0.9, 0.999), 1e-6, 0),
    "adamW_distilBert": (AdamW, (0.9, 0.98), 1e-6, 0.01),
}
FACTORIES: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    **{
        name: partial(kind, betas=betas, eps=eps, weight_decay=decay)
        for name, (kind, betas, eps, decay) in ADAMS.items()
    },
}
NUMBERS = {"adam": 27, "sgd": 28, "adam_wav2vec2.0": 29, "adam_distilBert": 30, "adamW_distilBert": 31}


def by_hand(make: Callable[..., Optimizer], *, epochs: int, scale: float = 1, accumulate: int = 1) -> list[Any]:
    """The student's weights after a plain PyTorch loop over the same data."""
    student, teacher = Student(), Teacher().eval()
    optimizer = make(student.parameters(), lr=0.05)
    for _ in range(epochs):
        batches = list(inputs_loader())
        for number, (inputs,) in enumerate(batches, start=1):
            with torch.no_grad():
                prob = teacher(inputs)["prob"]
            loss = scale * F.kl_div(student(inputs)["log_prob"], prob, reduction="batchmean")
            (loss / accumulate).backward()
            if number % accumulate == 0 or number == len(batches):
                optimizer.step()
                optimizer.zero_grad()
    return weights(student)


def check_adam(name: str) -> None:
    made = train(optimize_method=name, learning_rate=0.05)
    (optimizer,) = made.trainer.optimizers
    kind, betas, eps, decay = ADAMS[name]
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.05, betas, eps, decay)
    assert not group["amsgrad"]


def test_27_adam_has_the_contracts_settings() -> None:
    """Another beta, epsilon or weight decay than in the original gives other results from the same learning rate."""
    check_adam("adam")


def test_29_the_adam_of_wav2vec2_has_the_contracts_settings() -> None:
    """The wav2vec 2.0 recipe's learning rate belongs to its own second beta and epsilon."""
    check_adam("adam_wav2vec2.0")


def test_30_the_adam_of_distilbert_has_the_contracts_settings() -> None:
    """Its larger epsilon damps the first steps, when gradients are tiny."""
    check_adam("adam_distilBert")


def test_31_the_adamw_of_distilbert_has_the_contracts_settings() -> None:
    """It alone of the five decays the weights."""
    check_adam("adamW_distilBert")


def test_28_sgd_has_no_momentum_and_no_weight_decay() -> None:
    """Momentum that nobody asked for multiplies the learning rate by about ten."""
    made = train(optimize_method="sgd", learning_rate=0.05)
    (optimizer,) = made.trainer.optimizers
    assert type(optimizer) is SGD
    (group,) = optimizer.param_groups
    expected = {"lr": 0.05, "momentum": 0, "weight_decay": 0, "nesterov": False, "dampening": 0}
    assert {name: group[name] for name in expected} == expected


@pytest.mark.parametrize("name", FACTORIES, ids=lambda name: f"{NUMBERS[name]}-{name}")
def test_27_to_31_training_equals_a_plain_pytorch_loop(name: str) -> None:
    """Whatever lies between loader and optimiser must add nothing: same batches, same loss, same steps."""
    made = train(optimize_method=name, learning_rate=0.05, max_epoch=2)
    for got, expected in zip(weights(made.get_student_model()), by_hand(FACTORIES[name], epochs=2), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batches", "steps"), [(1, 3), (2, 2), (3, 1), (7, 1)])
def test_32_n_batches_make_one_optimiser_step(batches: int, steps: int) -> None:
    """Users accumulate to imitate a large batch; stepping too often trains with a many times larger rate."""
    made = train(accumulate_grad_batches=batches, optimize_method="sgd", learning_rate=0.05, max_epoch=2)
    assert ROWS // 4 == BATCHES == 3
    assert made.trainer.global_step == 2 * steps


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_32_accumulated_gradients_are_averaged(batches: int) -> None:
    """A sum instead of a mean would multiply the learning rate by the number of batches."""
    made = train(accumulate_grad_batches=batches, optimize_method="sgd", learning_rate=0.05)
    expected = by_hand(SGD, epochs=1, accumulate=batches)
    for got, wanted in zip(weights(made.get_student_model()), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_32_gradients_are_never_clipped() -> None:
    """A hidden limit on the gradient would change every training with a large loss coefficient."""
    made = train(optimize_method="sgd", learning_rate=0.05, final_loss_coeff_dict={"kd_loss": 1000})
    expected = by_hand(SGD, epochs=1, scale=1000)
    assert not same(expected, weights(Student()))
    for got, wanted in zip(weights(made.get_student_model()), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
