"""Runs the project's own tests on a mutant: the laws, the oracles and the golden vectors, until one fails."""

from __future__ import annotations

import doctest
import signal
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.mutation.swap import module_of
from tests.laws.case import Case
from tests.laws.checks import CHECKS, DUTIES, hold
from tests.laws.collect import all_cases, reasons, title
from tests.laws.companions import COMPANIONS
from tests.laws.draws import Draw
from tests.laws.evaluate import Inapplicable
from tests.oracles.golden import differences, gather, load, rows

# the likeliest to notice come first; compiling says nothing about the value
ORDER = ["oracle", "reductions", "module_equals_function", "gradcheck", "masked_items", "teacher_detached"]
LAWS = [*ORDER, *(law for law in [*DUTIES, *CHECKS] if law not in {*ORDER, "compiled"})]
LIMIT_SECONDS = 20


@dataclass(frozen=True)
class Trial:
    """One test of the project that a mutant has to pass to survive."""

    name: str
    run: Callable[[], None]
    """Raises when the test fails."""


class TookTooLong(Exception):
    """A mutant that never ends is noticed by whoever waits for it."""


def law_trials(case: Case) -> list[Trial]:
    def trial(law: str) -> Trial:
        def run() -> None:
            try:
                hold(law, case, shrink=False)
            except Inapplicable:
                return

        return Trial(f"{law} of {title(case)}", run)

    return [trial(law) for law in LAWS if law not in reasons(case)]


def companion_trials(losses: Iterable[str]) -> list[Trial]:
    return [Trial(f"companion {check.__name__}", check) for loss in losses for check in COMPANIONS.get(loss, ())]


def example_trials(file: Path) -> list[Trial]:
    """The doctests of a file, which the project's tests run too."""
    module = module_of(file)

    def trial(example: doctest.DocTest) -> Trial:
        def run() -> None:
            runner = doctest.DocTestRunner(verbose=False)
            outcome = runner.run(example, out=lambda text: None, clear_globs=False)
            assert not outcome.failed, example.name

        return Trial(f"example {example.name}", run)

    return [trial(example) for example in doctest.DocTestFinder().find(module) if example.examples]


def golden_trial(row: dict[str, Any]) -> Trial:
    def run() -> None:
        entry = load(row)
        found = differences(entry, gather("RUNNERS")[entry.loss](entry))
        assert not found, found

    return Trial(f"golden {row['name']}", run)


def passes(trial: Trial) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with limited(LIMIT_SECONDS):
                trial.run()
        except (Exception, TookTooLong):
            return False
    return True


def files_touched(run: Callable[[], Any], root: Path) -> set[Path]:
    """The source files under `root` whose functions run."""
    touched: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            touched.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        run()
    except Exception:
        pass
    finally:
        sys.setprofile(None)
    return {path for path in map(Path, touched) if path.is_relative_to(root)}


def trials_by_file(root: Path) -> tuple[dict[Path, list[Case]], dict[Path, list[Trial]]]:
    """For each source file: the cases, and the golden vectors, that run any of its code."""
    cases, golden = defaultdict(list), defaultdict(list)
    for case in all_cases():
        for path in files_touched(partial(DUTIES["oracle"], case, Draw()), root):
            cases[path].append(case)
    known = gather("RUNNERS")
    for row in rows():
        if row["loss"] in known:
            trial = golden_trial(row)
            for path in files_touched(trial.run, root):
                golden[path].append(trial)
    return cases, golden


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
