"""Tables of the results page on the doctor, the verdict and students from their teacher, read from `docs/results/`."""

from __future__ import annotations

from typing import Any

from docs.generate.markdown import table
from docs.generate.measured import machine, result


def percent(share: float) -> str:
    """A share as a reader takes it in."""
    return f"{100 * share:.1f}%"


def points(row: dict[str, Any]) -> str:
    """A difference with its interval, in percentage points."""
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def doctor() -> str:
    """How many planted faults the doctor names, and how often it cries wolf."""
    found = result("doctor")
    if "skipped" in found:
        return f"Not measured: {found['skipped']}."
    rows = [
        (name, form["planted"], form["named"], percent(form["named_share"]), form["false_alarms"])
        for name, form in (("`kd doctor`", found), ("quick form", found["quick"]))
    ]
    heads = ("form", "planted faults", "named", "share", f"false alarms on {found['healthy']} healthy trainings")
    return f"{table(heads, [tuple(map(str, row)) for row in rows])}\n\n{machine(found)}"


def verdict() -> str:
    """How often the verdict is "helped", by what the teacher is worth."""
    found = result("verdict")
    if "skipped" in found:
        return f"Not measured: {found['skipped']}."
    return (
        f"Of {found['comparisons']} comparisons with a random teacher {percent(found['false_positive_share'])} said "
        f"helped, and of as many with a good one {percent(found['true_positive_share'])}; the interval's nominal rate "
        f"is {percent(found['nominal_share'])} on each side, which chance moves by {percent(found['chance_margin'])}. "
        f"{machine(found)}"
    )


def students() -> str:
    """Students that begin as a part of their teacher, beside the same begun at random."""
    found: dict[str, Any] = result("students")
    if "skipped" in found:
        return f"Not measured: {found['skipped']}."
    rows = [
        (
            row["task"], f"`{row['way']}`", percent(row["share_of_parameters"]), percent(row["from_teacher"]),
            percent(row["random"]), points(row), row["verdict"],
        )
        for row in found["rows"]
    ]  # fmt: skip
    heads = ("task", "way", "of the teacher's parameters", "from the teacher", "at random", "points", "verdict")
    return f"{table(heads, rows)}\n\n{found['seeds']} seeds. {machine(found)}"


TABLES = {"doctor-figures": doctor, "verdict-figures": verdict, "students-figures": students}
