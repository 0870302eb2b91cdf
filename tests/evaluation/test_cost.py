"""What goes wrong for a user when a model's cost is counted wrongly."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.evaluation import latency
from knowledge_distillation.evaluation.cost import cpu_threads, measure_cost
from tests.training.toys import Difficult, flags, snapshot


def test_parameters_and_bytes_are_those_counted_by_hand() -> None:
    """Otherwise 'four times smaller' is not."""
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2, bias=False))
    found = measure_cost(model, (torch.zeros(2, 5),), rounds=2, warm_up=0)
    parameters = 5 * 7 + 7 + 2 * 7 + 7 * 2
    assert found.parameters == parameters
    assert found.bytes == 4 * (parameters + 2 * 7) + 8
    half = measure_cost(model.to(torch.bfloat16), (torch.zeros(2, 5, dtype=torch.bfloat16),), rounds=1, warm_up=0)
    assert half.parameters == parameters
    assert half.bytes == 2 * (parameters + 2 * 7) + 8


def test_shared_parameters_count_once() -> None:
    """Otherwise a model with tied embeddings looks twice as large as it is."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    found = measure_cost(model, (torch.zeros(1, 4),), rounds=1, warm_up=0)
    assert found.parameters == 4 * 4 + 4 + 4
    assert found.bytes == 4 * found.parameters


class Slow(nn.Module):
    """Takes the listed milliseconds of a clock of its own, call by call, and notes the context."""

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.times, self.calls, self.clock = list(milliseconds), [], 0.0
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        self.clock += self.times[len(self.calls) - 1] / 1e3
        return inputs


def test_latency_is_the_median_after_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first slow call, or one hiccup, is the model's speed."""
    model = Slow(60, 60, 2, 1, 4, 40)
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: model.clock))
    found = measure_cost(model, (torch.zeros(1),), rounds=4, warm_up=2)
    assert found.latency_ms == pytest.approx(3)
    assert found.latency_p95_ms == pytest.approx(40)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


def test_timing_runs_in_eval_mode_without_gradient_on_the_asked_threads_and_leaves_no_trace() -> None:
    """Otherwise measuring changes batch statistics, modes or the thread setting."""
    before = torch.get_num_threads()
    probe = Slow(0, 0)
    measure_cost(probe, (torch.zeros(1),), rounds=2, warm_up=0, threads=1)
    assert probe.calls == [(False, False, 1)] * 2
    assert probe.training
    model = Difficult()
    state, modes = snapshot(model), flags(model)
    measure_cost(model, (torch.zeros(3, 5),), rounds=2, warm_up=1)
    assert flags(model) == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.get_num_threads() == before


def test_modes_and_threads_come_back_when_the_model_raises() -> None:
    """Otherwise a failed measurement leaves the student in eval mode on one thread."""
    before = torch.get_num_threads()
    model = Difficult()
    modes = flags(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure_cost(model, (torch.zeros(3, 99),), rounds=1, threads=1)
    assert flags(model) == modes
    assert torch.get_num_threads() == before
    with cpu_threads(None):
        assert torch.get_num_threads() == before
