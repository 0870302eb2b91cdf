"""What concerns all tests: the state they begin in, options, reports."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from tests.needing import not_collected

collect_ignore = not_collected()
VENDORED_GOLDEN = Path(__file__).parent / "oracles" / "golden"

# The same examples in every run and on every machine, and no folder of examples where the tests are started.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Each test draws the same numbers, alone or after any other."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed also writes a traceback down for each absent GPU
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Levels and handlers that a test sets, as commands and benchmarks do, decide nothing in later tests."""
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in [logging.root, *known]]
    yield
    for logger, level, handlers in before:
        if logger.level != level:
            logger.setLevel(level)
        logger.handlers[:] = handlers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(VENDORED_GOLDEN),
        metavar="DIR",
        help="folder with manifest.json and safetensors files to run the losses against (default: the vendored one)",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the golden entries that no test looks at: silence would read as agreement."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if hasattr(report, "nodeid")]
    if not any("test_golden" in report.nodeid for report in reports):
        return
    from tests.oracles.golden import gather, rows

    mapped = gather("RUNNERS").keys() | gather("FAULTS").keys()
    entries = rows(Path(config.getoption("--golden-dir")))
    unmapped = [entry["name"] for entry in entries if entry["loss"] not in mapped]
    terminalreporter.section("golden vectors")
    terminalreporter.line(f"{len(entries) - len(unmapped)} of {len(entries)} entries have a mapping.")
    if unmapped:
        terminalreporter.line("without: " + ", ".join(unmapped))
