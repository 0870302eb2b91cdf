"""Seconds to answer: percentiles and throughput after a warm-up, on a stated number of threads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

LONGEST_SECONDS = 5.0
"""Timing ends after so many seconds; a slow model gets fewer rounds, which its result states."""
FEWEST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Attributes:
    p50_ms, p95_ms, p99_ms: milliseconds of one call, nearest-rank percentiles of the rounds.
    items_per_second: samples a call divided by the median.
    rounds: timed calls; of fewer than 100 the 99th percentile is the slowest.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    items_per_second: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def call_times(
    call: Callable[[], Any],
    *,
    rounds: int,
    warm_up: int,
    threads: int | None,
    device: torch.device,
    longest: float = math.inf,
) -> list[float]:
    """Milliseconds of each timed call, in their order.

    Args:
        call: what is timed.
        rounds: timed calls at most.
        warm_up: calls before, not timed; where they take longer than `longest`, fewer, and one at least.
        threads: CPU threads while timing; None leaves the setting.
        device: waited for before and after each call.
        longest: seconds of wall time after which no further call is timed, but for the fewest of 5; of calls that take
            longer than that each, one is timed.
    """
    timings: list[float] = []
    with cpu_threads(threads):
        begun = time.perf_counter()
        while len(timings) < rounds:
            _wait_for(device)
            started = time.perf_counter()
            call()
            _wait_for(device)
            ended = time.perf_counter()
            late = ended - begun > longest
            if warm_up > 0:
                warm_up = 0 if late else warm_up - 1
                continue
            timings.append(1e3 * (ended - started))
            if late and (len(timings) >= FEWEST_ROUNDS or ended - started > longest):
                break
    return timings


def latency_of(timings: Sequence[float], items: int) -> Latency:
    """The figures of timed calls.

    Args:
        timings: milliseconds, at least one.
        items: samples a call.
    """
    ordered = sorted(timings)
    middle = percentile(ordered, 0.5)
    return Latency(
        p50_ms=middle,
        p95_ms=percentile(ordered, 0.95),
        p99_ms=percentile(ordered, 0.99),
        items_per_second=items / (middle / 1e3) if middle > 0 else math.inf,
        rounds=len(ordered),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ascending values that at least this share of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


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


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
