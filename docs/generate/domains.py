"""The table of results of every domain, read from `docs/results/domains.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docs.generate.markdown import code, table
from docs.generate.measured import machine, result, skipped

HEADS = ("task", "measure", "teacher", "student", "control", "difference, 95% interval", "seeds", "int8", "command")
ARMS = ("teacher", "student", "control")


def domains() -> str:
    """Teacher, student, control and exported int8 of every domain, and the command that measured them."""
    found = result("domains")
    if "skipped" in found:
        return skipped(found)
    rows = [
        (
            f"[{row['task']}]({row['page']})", row["measure"], *(_shown(row, row[arm]) for arm in ARMS),
            f"{_difference(row)}: {row['verdict']}", str(row["seeds"]), _int8(row), code(row["command"]),
        )
        for row in found["rows"]
    ]  # fmt: skip
    return f"{table(HEADS, rows)}\n\n{machine(found)}"


def _shown(row: dict[str, Any], value: float | None) -> str:
    return "-" if value is None else format(value, row["format"])


def _difference(row: dict[str, Any]) -> str:
    names = ("difference", "low", "high") if row["seeds"] > 1 else ("difference",)
    shown, *interval = (format(row[name], f"+{row['format']}") for name in names)
    return f"{shown} ({' to '.join(interval)})" if interval else shown


def _int8(row: dict[str, Any]) -> str:
    kept = row["int8"]
    if isinstance(kept, str):
        return kept
    return f"{_shown(row, kept['score'])}, {kept['times_smaller']:.1f} times smaller"


TABLES: Mapping[str, Callable[[], str]] = {"domains": domains}
