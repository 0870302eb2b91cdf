"""What a model costs: parameters, bytes, and seconds to answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from knowledge_distillation.capture.calls import undisturbed


@dataclass(frozen=True, slots=True)
class Cost:
    """Attributes:
    parameters: number of parameter values.
    bytes: parameters and buffers as they are stored.
    latency_ms: median milliseconds for one example batch.
    latency_p95_ms: 95th percentile of the same rounds.
    """

    parameters: int
    bytes: int
    latency_ms: float
    latency_p95_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure_cost(
    model: nn.Module, example: Sequence[Any], *, rounds: int = 50, warm_up: int = 10, threads: int | None = None
) -> Cost:
    """Count parameters and bytes, and time `model(*example)` in eval mode without gradient.

    Args:
        model: measured on the device where it is.
        example: positional inputs on that device.
        rounds: timed calls.
        warm_up: calls before, not timed.
        threads: CPU threads while timing; None leaves the setting.
    """
    timings = []
    with undisturbed(model), cpu_threads(threads):
        for number in range(warm_up + rounds):
            _synchronize(example)
            started = time.perf_counter()
            model(*example)
            _synchronize(example)
            if number >= warm_up:
                timings.append(1e3 * (time.perf_counter() - started))
    timings.sort()
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()]),
        latency_ms=statistics.median(timings),
        latency_p95_ms=timings[min(len(timings) - 1, round(0.95 * len(timings)))],
    )


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block; None leaves the setting."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronize(example: Sequence[Any]) -> None:
    if any(isinstance(entry, torch.Tensor) and entry.is_cuda for entry in example):
        torch.cuda.synchronize()
