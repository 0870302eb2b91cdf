"""What a check found, and what an examination as a whole says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first: training would be wrong, training is likely wrong, worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        severity: "error" (training would be wrong), "warning" (it is likely wrong), or "note".
        fault: what is wrong, in one sentence.
        evidence: the numbers that say so.
        harm: what training would make of it.
        fix: what to do.
        check: name of the check that found it; `diagnose` fills it in.
    """

    severity: Severity
    fault: str
    evidence: str
    harm: str
    fix: str
    check: str = ""

    def __str__(self) -> str:
        return f"{self.severity} ({self.check}): {self.fault} {self.evidence} {self.harm} {self.fix}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        findings: worst first.
        checks: names of the checks that could look, in their order.
        skipped: name of each check that could not -> why.
        seconds: wall time of the examination.
    """

    findings: Sequence[Finding]
    checks: Sequence[str]
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def errors(self) -> list[Finding]:
        """Findings that make training wrong for certain."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def healthy(self) -> bool:
        """Whether nothing worse than a note was found."""
        return all(finding.severity == "note" for finding in self.findings)

    def named(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "checks": list(self.checks),
            "skipped": dict(self.skipped),
            "seconds": self.seconds,
        }

    def write(self, directory: Path) -> None:
        """Write doctor.json, which the report reads, into a directory."""
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        (directory / "doctor.json").write_text(text, encoding="utf-8")

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings] or ["Nothing was found."]
        return "\n".join([*lines, *(f"skipped ({name}): {why}" for name, why in self.skipped.items())])
