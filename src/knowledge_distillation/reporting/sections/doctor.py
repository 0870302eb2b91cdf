"""What the doctor found before the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Block, Finding, Listed, Said, Section
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.evaluated import entries, part


def doctor_section(files: RunFiles) -> Section:
    """A card for each finding; what was checked, and what could not be."""
    title = "What the doctor found"
    if files.doctor is None:
        return Section(
            "doctor", title, [Absent("Teacher, student and data were not examined.", command(files, "doctor"))]
        )
    found = entries(files.doctor.get("findings"))
    checks = files.doctor.get("checks")
    number = len(checks) if isinstance(checks, list) else 0
    seconds = files.doctor.get("seconds")
    took = f" in {seconds:.1f} s" if isinstance(seconds, (int, float)) else ""
    what = "nothing" if not found else "1 fault" if len(found) == 1 else f"{len(found)} faults"
    blocks: list[Block] = [Said(f"{number} checks{took} found {what}.")]
    blocks += [_finding(entry) for entry in found]
    skipped = part(files.doctor, "skipped")
    if skipped:
        said = [(str(name), str(why)) for name, why in skipped.items()]
        blocks.append(
            Listed(
                "1 check was not possible" if len(skipped) == 1 else f"{len(skipped)} checks were not possible",
                said,
                folded=True,
            )
        )
    if number:
        blocks.append(Listed("All checks", [("", ", ".join(map(str, checks or [])))], folded=True))
    return Section("doctor", title, blocks)


def _finding(entry: Mapping[str, Any]) -> Finding:
    names = ("severity", "check", "fault", "evidence", "harm", "fix")
    return Finding(*("" if entry.get(name) is None else str(entry[name]) for name in names))
