"""Keep the settings that make a step faster and its numbers no other; say what was chosen and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from knowledge_distillation.training.speed.candidates import Option
from knowledge_distillation.training.speed.measuring import Trial, differences
from knowledge_distillation.training.speed.settings import Settings

Result = TypeVar("Result")
LEAST_GAIN = 0.05
"""Share of the step's time that a setting must save: below it, two runs would choose differently by chance."""
FULL = {"loss": 1e-4, "signals": 1e-3, "gradient": 1e-2}
"""Largest relative differences in full precision. A convolution that adds up in another order is about 1e-6 away."""
MIXED = {"loss": 1e-2, "signals": 3e-2, "gradient": 1e-1}
"""The same in mixed or half precision, where one rounding of a bfloat16 is 4e-3."""
SECONDS = 10.0
"""What timing one setting may take, about; at least `FEWEST` rounds are measured, at most `MOST`."""
FEWEST, MOST = 3, 7


@dataclass(frozen=True, slots=True)
class Together:
    """What lets several processes choose as one.

    Attributes:
        first: a value of any process -> the value of the first.
        all: whether something holds in every process.
    """

    first: Callable[[Any], Any] = lambda value: value
    all: Callable[[bool], bool] = lambda holds: holds


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings to train with, and the line that says why."""

    settings: Settings
    line: str


def choose(
    put_on: Callable[[Settings], None],
    trial: Trial,
    options: Sequence[Option],
    tolerance: dict[str, float],
    together: Together,
) -> Choice:
    """Try one option after the other on top of what was found good so far.

    A setting is kept if loss, gradient and teacher's signals agree with the unchanged step in every process, its
    fastest step takes at least `LEAST_GAIN` less time than the fastest without it, and it is faster in most of the
    interleaved rounds, both by the clock of the first process. One that fails is skipped.

    Args:
        put_on: puts settings on the models.
        trial: the step, repeated on the first batch.
        options: in the order to try.
        tolerance: the largest relative difference by name; see `differences`.
        together: with the other processes.
    """
    best = unchanged = Settings()
    if not options:
        return Choice(best, "speed: nothing changed: no faster setting fits these models on this device.")
    reference, complaint = _attempt(put_on, best, trial.answer)
    if not together.all(reference is not None):
        return Choice(best, f"speed: nothing changed: the first step cannot be repeated, it {complaint or 'failed'}.")
    before = after = math.nan
    agreed, kept, refused = 0.0, 0, []
    for option in options:
        wanted = option.added(best)
        answer, complaint = _attempt(put_on, wanted, trial.answer)
        apart = differences(reference, answer) if reference and answer else {}
        worst = next((f"changes the {name} by {apart[name]:.1e}, more than {tolerance[name]:.0e}"
                      for name in apart if apart[name] > tolerance[name]), "")  # fmt: skip
        if not together.all(not complaint and not worst):
            refused.append(f"{option.name} {complaint or worst or 'did not agree in another process'}")
            continue
        times, complaint = _times(put_on, trial, (best, wanted), together)
        if not together.all(not complaint):
            refused.append(f"{option.name} {complaint or 'failed in another process'}")
            continue
        times = together.first(times)
        old, new = map(min, times)
        if new > (1 - LEAST_GAIN) * old or median(b / a for a, b in zip(*times, strict=True)) >= 1:
            refused.append(f"{option.name} {new:.1f} ms against {old:.1f} ms, which is not {LEAST_GAIN:.0%} faster")
            continue
        best, before, after, agreed, kept = wanted, old, new, max(agreed, apart["loss"]), kept + 1
    if kept > 1:
        again = together.first(_times(put_on, trial, (unchanged, best), together)[0])
        before, after = map(min, again) if all(again) else (before, after)
    also = f" Not taken: {'; '.join(refused)}." if refused else ""
    if best == unchanged:
        return Choice(best, f"speed: nothing changed.{also}")
    return Choice(
        best,
        f"speed: {best.shown}: {after:.1f} ms a step against {before:.1f} ms ({1 - after / before:.0%} faster); loss "
        f"agrees to {agreed:.0e}.{also}",
    )


def _attempt(
    put_on: Callable[[Settings], None], wanted: Settings, ask: Callable[[], Result]
) -> tuple[Result | None, str]:
    """What the models give with the settings, or None and how they fail."""
    try:
        put_on(wanted)
        return ask(), ""
    except Exception as error:
        said = str(error).strip().splitlines()
        return None, f"failed ({type(error).__name__}: {said[0][:120] if said else ''})"


def _times(
    put_on: Callable[[Settings], None], trial: Trial, arms: Sequence[Settings], together: Together
) -> tuple[list[list[float]], str]:
    """The milliseconds of every arm in each round, or how one fails; one round before is not counted."""
    times: list[list[float]] = [[] for _ in arms]
    complaint, rounds = "", 1 + MOST
    place = 0
    while place < rounds:
        for arm, settings in enumerate(arms):
            if not complaint:
                spent, complaint = _attempt(put_on, settings, trial.milliseconds)
                times[arm] += [] if spent is None else [spent]
        if place == 1:
            seconds = together.first(1e-3 * sum(arm[-1] for arm in times if arm))
            rounds = 1 + max(FEWEST, min(MOST, int(SECONDS / max(seconds, 1e-9))))
        place += 1
    return [arm[1:] for arm in times], complaint
