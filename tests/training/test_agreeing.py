"""What goes wrong for a user when processes ask each other too often, or hear of each other too late."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from torch import distributed

from knowledge_distillation.training import agreeing
from knowledge_distillation.training.agreeing import SECONDS, Agreement


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone, which exchanges with itself."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Clock:
    """A time of its own, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(agreeing.time, "monotonic", lambda: self.now)


def exchanges(agreement: Agreement, clock: Clock, seconds_a_step: float, steps: int) -> list[float]:
    """When, in seconds from now, the processes exchanged."""
    began, found = clock.now, []
    for _ in range(steps):
        clock.now += seconds_a_step
        if agreement.heard(1) == (1,):
            found.append(clock.now - began)
    return found


def test_a_process_alone_hears_itself_at_once() -> None:
    """Otherwise Ctrl-C is obeyed a second too late."""
    agreement = Agreement()
    agreement.begin(1)
    assert [agreement.heard(2, 0), agreement.heard(0, 7, now=True)] == [(2, 0), (0, 7)]


def test_short_steps_exchange_about_once_a_second(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a step of a millisecond waits for the others every time."""
    clock = Clock(monkeypatch)
    agreement = Agreement()
    agreement.begin(2)
    found = exchanges(agreement, clock, 0.001, 10_000)
    gaps = [later - earlier for earlier, later in pairwise(found[12:])]
    assert len(found) < 25
    assert max(gaps) <= 1.001 * SECONDS


def test_long_steps_exchange_every_time(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise SIGTERM is obeyed after several steps, when the job is dead already."""
    clock = Clock(monkeypatch)
    agreement = Agreement()
    agreement.begin(2)
    assert len(exchanges(agreement, clock, 3.0, 20)) == 20


def test_steps_that_become_slow_are_noticed(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a first step that took no time decides for all of them."""
    clock = Clock(monkeypatch)
    agreement = Agreement()
    agreement.begin(2)
    exchanges(agreement, clock, 0.001, 3)
    later = exchanges(agreement, clock, 0.5, 40)
    assert later[0] <= 2.0
    assert max(b - a for a, b in pairwise(later)) <= 1.0


def test_it_can_be_asked_for_at_once(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the end of an epoch passes, and the next one is begun in vain."""
    clock = Clock(monkeypatch)
    agreement = Agreement()
    agreement.begin(2)
    exchanges(agreement, clock, 0.001, 1000)
    assert agreement.heard(5, now=True) == (5,)
