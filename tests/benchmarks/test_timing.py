"""What goes wrong for every figure when the clock counts what it should not, or arms do not take turns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.timing.clock import Clock
from benchmarks.timing.rounds import interleaved, ratio, summary


def test_the_clock_counts_the_steps_between_the_skipped_and_the_last() -> None:
    """Otherwise a trainer's start and end count as training."""
    moments = iter([10.0, 16.0])
    clock = Clock(range(5), skip=1, now=lambda: next(moments))
    assert list(clock) == [0, 1, 2, 3, 4]
    assert clock.seconds_a_step == 2.0  # batches 1, 2 and 3 in six seconds


def test_a_clock_without_a_step_to_time_is_refused() -> None:
    """Otherwise the figure is a division by zero."""
    with pytest.raises(ValueError, match="leave no step to time"):
        Clock(range(2), skip=1)


def test_arms_take_turns_and_the_order_changes() -> None:
    """Otherwise whoever comes second meets the machine that the first has warmed up."""
    called: list[str] = []

    def arm(name: str) -> float:
        called.append(name)
        return float(len(called))

    times = interleaved({"a": lambda: arm("a"), "b": lambda: arm("b")}, 2, unit=1)
    assert called == ["a", "b", "b", "a"]
    assert times == {"a": [1.0, 4.0], "b": [2.0, 3.0]}


def test_each_of_three_arms_follows_each_other_as_often() -> None:
    """Otherwise one arm always meets what the largest has left in memory, and its ratio is that of the order."""
    called: list[str] = []
    arms = {name: lambda name=name: float(not called.append(name)) for name in "abc"}
    interleaved(arms, 6, unit=1)
    rounds = [called[begin : begin + 3] for begin in range(0, len(called), 3)]
    follows = Counter(pair for turn in rounds for pair in pairwise(turn))
    assert all(sorted(turn) == list("abc") for turn in rounds)
    assert follows == {(first, then): 2 for first in "abc" for then in "abc" if first != then}


def test_the_ratio_is_taken_within_rounds() -> None:
    """Otherwise one slow round decides who is faster."""
    assert ratio([2.0, 40.0, 2.0], [1.0, 20.0, 1.0]) == 2.0
    assert summary([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0}
