"""Tables on the doctor, the verdict, students from their teacher, and faults, read from `docs/results/`."""

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


def faults() -> str:
    """What was injected and what was survived, by kind."""
    found: dict[str, Any] = result("faults")
    if "skipped" in found:
        return f"Not measured: {found['skipped']}."
    rows = [
        (kind["title"], kind["survives"], f"{kind['survived']:,} of {kind['injected']:,}")
        for kind in found["rows"].values()
    ]
    whole = f"{found['survived']:,} of {found['injected']:,} in {found['seconds'] / 60:.0f} minutes. {machine(found)}"
    return f"{table(('what happens', 'what must hold afterwards', 'survived'), rows)}\n\n{whole}"


def mutants() -> str:
    """How many planted faults in the losses their tests notice."""
    found: dict[str, Any] = result("mutants")
    return (
        f"{found['mutants']} faults, {percent(found['killed_share'])} noticed by the tests; the file names the "
        f"{len(found['survivors'])} that were not. {machine(found)}"
    )


def imports() -> str:
    """What the first lines of a program cost."""
    found: dict[str, Any] = result("import_time")
    return (
        f"`kd --help` answers in {found['help_seconds']:.3f} s, `import knowledge_distillation` takes "
        f"{1000 * found['import_seconds']:.0f} ms, `import knowledge_distillation.losses` "
        f"{1000 * found['losses_over_torch_seconds']:.0f} ms more than `import torch`. {machine(found)}"
    )


TABLES = {
    "mutants-figures": mutants,
    "import-figures": imports,
    "faults-figures": faults,
    "doctor-figures": doctor,
    "verdict-figures": verdict,
    "students-figures": students,
}
