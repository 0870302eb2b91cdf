"""Rounds in which every arm has its turn, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.report import progress

FIGURE = "median of the ratios within interleaved rounds"


def interleaved(
    arms: Mapping[str, Callable[[], float]], rounds: int, *, label: str = "round", unit: float = 1e3
) -> dict[str, list[float]]:
    """Time every arm once a round, in turns forwards and backwards, each pair of rounds beginning one arm further on.

    So each of three arms comes after each other one equally often: what one leaves behind, such as memory that the
    allocator has just given back, does not meet the same arm each time.

    Args:
        arms: name -> a call that returns seconds.
        rounds: how many.
        label: begins each line of progress.
        unit: what seconds are multiplied by; 1e3 gives milliseconds.

    Returns:
        name -> one time for each round.
    """
    times: dict[str, list[float]] = {name: [] for name in arms}
    order = list(arms)
    for number in range(rounds):
        first = number // 2 % len(order)
        turn = order[first:] + order[:first]
        for name in turn if number % 2 == 0 else reversed(turn):
            times[name].append(unit * arms[name]())
        shown = ", ".join(f"{name} {values[-1]:.3g}" for name, values in times.items())
        progress(f"{label} {number + 1}/{rounds}: {shown}")
    return times


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios within rounds."""
    return statistics.median(first / second for first, second in zip(of, to, strict=True))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Minimum and median."""
    return {"min": round(min(values), 4), "median": round(statistics.median(values), 4)}
