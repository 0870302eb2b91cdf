"""What goes wrong for a user when confidence is judged wrongly; the oracles are NumPy, SciPy and torchmetrics."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from knowledge_distillation.evaluation.calibration import Calibration, fitted_temperature
from tests.training.toys import seeded

CPU = torch.device("cpu")


def overconfident(items: int = 400, factor: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from the softmax of honest scores, and those scores blown up."""
    honest = 1.5 * torch.randn(items, 5, generator=seeded(1), dtype=torch.float64)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=seeded(2))[:, 0]
    return (factor * honest).float(), labels


def measured(scores: torch.Tensor, labels: torch.Tensor, kept: int = 2**24) -> dict:
    sums = Calibration(CPU, kept)
    for part in torch.arange(len(scores)).split(33):
        sums.add(scores[part], labels[part])
    return sums.result()


def numpy_ece(scores: np.ndarray, labels: np.ndarray) -> float:
    probs = softmax(scores, axis=1)
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    edges = np.linspace(0, 1, 16)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (sure >= low) & ((sure < high) | (high == 1))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


def test_the_error_is_numpys_and_torchmetrics() -> None:
    """Otherwise the reliability curve and its figure disagree with the literature's."""
    scores, labels = overconfident()
    found = measured(scores, labels)
    assert found["ece"] == pytest.approx(numpy_ece(scores.double().numpy(), labels.numpy()), abs=1e-6)
    theirs = multiclass_calibration_error(scores[:50] / 3, labels[:50], num_classes=5, n_bins=15)
    assert measured(scores[:50] / 3, labels[:50])["ece"] == pytest.approx(float(theirs), abs=1e-6)
    assert sum(one["count"] for one in found["bins"]) == len(labels)
    assert found["bins"][0]["accuracy"] is None
    json.dumps(found, allow_nan=False)


def test_complete_certainty_falls_into_the_last_bin() -> None:
    """Otherwise confidence of exactly 1, which saturated students have, is lost."""
    scores = torch.tensor([[200.0, 0.0], [200.0, 0.0]])
    found = measured(scores, torch.tensor([0, 1]))
    assert found["bins"][-1] == {"low": 14 / 15, "high": 1.0, "confidence": 1.0, "accuracy": 0.5, "count": 2}
    assert found["ece"] == pytest.approx(0.5)


def test_the_temperature_is_the_one_that_scipy_finds() -> None:
    """Otherwise the shipped temperature makes confidences worse."""
    scores, labels = overconfident()

    def loss(temperature: float) -> float:
        return -log_softmax(scores.double().numpy() / temperature, axis=1)[range(len(labels)), labels].mean()

    oracle = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).x
    found = measured(scores, labels)
    assert found["temperature"] == pytest.approx(oracle, rel=1e-3)
    assert 2.4 < found["temperature"] < 3.6
    assert found["ece_after"] < found["ece"] / 2


def test_no_item_is_judged_at_a_temperature_that_it_helped_to_fit() -> None:
    """Otherwise the error after scaling is too good, most of all on little data."""
    scores, labels = overconfident(40)
    found = measured(scores, labels)
    halves = [fitted_temperature(scores[half::2], labels[half::2]) for half in (0, 1)]
    crossed = scores.double().numpy().copy()
    crossed[0::2] /= halves[1]
    crossed[1::2] /= halves[0]
    assert found["ece_after"] == pytest.approx(numpy_ece(crossed, labels.numpy()), abs=1e-5)


@pytest.mark.parametrize("batch", [33, 5])  # more and fewer than the 16 items of which one is kept at the end
def test_memory_does_not_grow_with_the_data(batch: int) -> None:
    """Otherwise a vocabulary of 150,000 fills the memory within a few batches, or the report of a small one ends."""
    scores, labels = overconfident(1000)
    sums = Calibration(CPU, kept=500)
    for part in torch.arange(1000).split(batch):
        sums.add(scores[part], labels[part])
        assert sum(map(torch.numel, sums._scores)) <= 500
    found = sums.result()
    assert found["ece"] == measured(scores, labels)["ece"]
    evenly = torch.cat(sums._labels)
    assert torch.equal(evenly, labels[::16])
    assert "on 63 of them" in found["how"]


def test_one_item_has_an_error_and_no_temperature() -> None:
    """Otherwise a single validation sample crashes, or gets a temperature out of nothing."""
    found = measured(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert found["ece"] == pytest.approx(1 - softmax([1, 0])[0])
    assert np.isnan(found["temperature"])
    assert Calibration(CPU).result() is None


def test_a_temperature_at_its_limit_is_named() -> None:
    """Otherwise 20 is taken for the best temperature of a model that knows nothing."""
    found = measured(torch.tensor([[9.0, 0.0]] * 8), torch.tensor([0, 0, 1, 1] * 2))
    assert "limit 20" in found["how"]
