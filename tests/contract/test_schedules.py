"""E. Learning-rate schedules: statements 33 to 35. They step once an epoch."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.contract.toy import column, inputs_loader, loader_of, rows, train

# measured on the original: (epochs, warm-up) -> the factor of every epoch
LINEAR = {
    (10, 3): [0.3333, 0.6667, 1, 1, 0.8571, 0.7143, 0.5714, 0.4286, 0.2857, 0.1429],
    (10, 0): [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
    (5, 5): [0.2, 0.4, 0.6, 0.8, 1],
    (3, 5): [0.2, 0.4, 0.6],
}
# measured on the original, learning rate 1e-3; the tenth epoch is the restart
COSINE = [1e-3, 9.699e-4, 8.831e-4, 7.503e-4, 5.872e-4, 4.138e-4, 2.508e-4, 1.179e-4, 3.112e-5, 1e-3]


def rates(epochs: int, **settings: Any) -> list[float]:
    """The learning rate of every epoch, as a run of one step an epoch logs it."""
    train(max_epoch=epochs, train_data_loader=loader_of((rows(),)), optimize_method="sgd", **settings)
    logged = column("lr-SGD")
    assert len(logged) == epochs
    return logged


def test_33_without_a_schedule_the_rate_is_constant() -> None:
    """A hidden decay would train less than was asked for."""
    assert rates(4, learning_rate=0.3) == [0.3] * 4


@pytest.mark.parametrize(("epochs", "warm_up"), LINEAR)
def test_34_linear_decay_with_warm_up_follows_the_originals_table(epochs: int, warm_up: int) -> None:
    """A user's run of the original could not be repeated; off by one, the last epoch would train with rate 0."""
    schedule = {"scheduler_method": "linear_decay_with_warm_up", "num_lr_warm_up_epoch": warm_up}
    assert rates(epochs, learning_rate=1, **schedule) == pytest.approx(LINEAR[epochs, warm_up], abs=5e-5)


def test_34_the_schedule_steps_once_an_epoch_not_once_a_batch() -> None:
    """Stepped at every batch, the rate would be 0 after a few batches and the rest of the training idle."""
    made = train(
        max_epoch=2,
        train_data_loader=inputs_loader(),
        optimize_method="sgd",
        learning_rate=1.0,
        scheduler_method="linear_decay_with_warm_up",
        val_data_loaders=None,
    )
    assert column("lr-SGD") == [1.0, 0.5]
    assert made.trainer.global_step == 6


def test_35_cosine_anneal_follows_the_originals_table() -> None:
    """The restart after nine epochs is part of what the original's users tuned."""
    logged = rates(10, learning_rate=1e-3, scheduler_method="cosine_anneal")
    assert logged == pytest.approx(COSINE, rel=5e-4)
    formula = [1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * (epoch % 9) / 9)) / 2 for epoch in range(10)]
    assert logged == pytest.approx(formula, rel=1e-6)
