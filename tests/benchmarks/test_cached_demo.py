"""What goes wrong for a reader of the results when the two arms are not the same training."""

from __future__ import annotations

import pytest

from tests.benchmarks.asked import run

SHORT = ("--seeds", "2", "--set", "training.max_epochs=1", "--set", "teacher.train.max_epochs=1")


@pytest.mark.slow
def test_both_arms_train_the_same_students() -> None:
    """Otherwise the difference between them says nothing about the cache. In float32 there is none but rounding."""
    found = run("cached_demo", *SHORT, "--encoding", "float32")
    live, cached = found["accuracy"]["live"], found["accuracy"]["cached"]
    assert cached == pytest.approx(live, abs=0.005)
    assert abs(live[0] - live[1]) > 0.005
    assert found["within_spread"]
