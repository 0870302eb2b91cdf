"""Every golden vector that has a mapping: same value, same gradients, every hyperparameter looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.oracles.golden import differences, gather, load, rows

RUNNERS = gather("RUNNERS")
FAULTS = gather("FAULTS")
# hyperparameters that cannot change the value, by golden loss, each with its reason
IRRELEVANT: dict[str, dict[str, str]] = gather("IRRELEVANT")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    directory = Path(metafunc.config.getoption("--golden-dir"))
    mapping = {"mapped": RUNNERS, "faulty": FAULTS}
    for argument, losses in mapping.items():
        if argument in metafunc.fixturenames:
            found = [row for row in rows(directory) if row["loss"] in losses]
            metafunc.parametrize(argument, [pytest.param((row, directory), id=row["name"]) for row in found])


def test_golden_value_and_gradients(mapped: tuple[dict[str, Any], Path]) -> None:
    """A user who moves from the reference code to this one must get the same training."""
    entry = load(*mapped)
    found = differences(entry, RUNNERS[entry.loss](entry))
    assert not found, f"{entry.name}: " + "; ".join(found)


def test_every_hyperparameter_is_read(mapped: tuple[dict[str, Any], Path]) -> None:
    """A runner that ignores a hyperparameter would pass at one value and be wrong at another."""
    entry = load(*mapped)
    RUNNERS[entry.loss](entry)
    ignored = set(entry.hyperparameters) - entry.hyperparameters.read
    unexplained = ignored - set(IRRELEVANT.get(entry.loss, {}))
    assert not unexplained, (
        f"{entry.name}: the runner never reads {sorted(unexplained)}; list them in IRRELEVANT if they cannot matter."
    )


def test_faults_are_not_repeated(faulty: tuple[dict[str, Any], Path]) -> None:
    """A known fault of a peer stays out: our nearest loss gives another number, for a stated reason."""
    entry = load(*faulty)
    runner, reason = FAULTS[entry.loss]
    assert reason.strip(), f"{entry.name} is called a fault without a reason."
    assert differences(entry, runner(entry)), f"{entry.name}: ours agrees with what is called a fault ({reason})."


def test_no_loss_is_both_right_and_wrong() -> None:
    """One golden loss cannot be both a truth and a fault."""
    assert not RUNNERS.keys() & FAULTS.keys()


def test_the_vendored_vectors_are_known() -> None:
    """A mapping whose golden loss is misspelt would silently never run."""
    known = {row["loss"] for row in rows()}
    assert not (RUNNERS.keys() | FAULTS.keys()) - known
