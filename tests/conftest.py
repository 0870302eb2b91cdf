"""Options and reports that concern all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

VENDORED_GOLDEN = Path(__file__).parent / "oracles" / "golden"


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
